"""What the endpoint accepts, Postgres can hold and a worker can read again."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError

from shared.payload import (
    EXAMPLE_UPLOAD,
    InvalidPayloadError,
    NotJsonError,
    Upload,
    content_hash,
    parse_upload,
)

EXTREMES = {
    "the largest double": "1.7976931348623157e308",
    "the largest double in full": str(int(1.7976931348623157e308)),
    "the finest number": f"0.{'1' * 398}",
    "too small for a double": "-1e-999",
    "zero with an exponent": "0e999",
    "an exponent of many zeros": "1e-0000000308",
    "a list of small numbers": f"[{'1.25e-7,' * 10_000}0]",
    "minus zero": "[-0, -0.0]",
    "as deep as allowed": "[" * 63 + "]" * 63,
    "brackets in a string": json.dumps("[{" * 10_000),
    "a surrogate pair": '"\\ud83d\\ude00"',
    "an escaped backslash before u": '"\\\\u0000"',
    "no character, but Unicode": '"\\uffff\U0010ffff"',
    "an empty key": '{"": {"": []}}',
    "a long key": json.dumps({"k" * 900_000: 1}),
    "control characters": json.dumps("".join(map(chr, range(1, 32)))),
}

REFUSED_BY_POSTGRES = {
    "NUL": '"\\u0000"',
    "NUL in a key": '{"\\u0000": 1}',
    "half a surrogate pair": '"\\ud800"',
    "surrogates the wrong way round": '"\\ude00\\ud83d"',
    "too large": "1e131072",
    "too large in full": "9" * 131_073,
    "too fine": "1e-16384",
    "too fine in full": f"0.{'1' * 16_384}",
    "too fine a zero": "0e-16384",
    "no exponent": "1e99999999999",
}


def an_upload_with(unknown: str) -> bytes:
    upload = json.dumps(EXAMPLE_UPLOAD | {"client_session_uuid": str(uuid4())})
    return f'{upload[:-1]}, "unknown": {unknown}}}'.encode()


@pytest.mark.parametrize("unknown", EXTREMES.values(), ids=EXTREMES)
def test_extremes_are_kept_as_they_are(web: httpx.Client, engine: Engine, unknown: str) -> None:
    body = an_upload_with(unknown)

    response = web.post("/ingest/study/attempts", content=body, headers={"Content-Type": "application/json"})

    assert response.status_code == 202
    with engine.connect() as connection:
        same = text("SELECT payload = CAST(:body AS jsonb) AS same, payload FROM uploads")
        row = connection.execute(same, {"body": body.decode()}).one()
    assert row.same
    kept: Any = row.payload
    assert content_hash(Upload.model_validate(kept)) == content_hash(parse_upload(body))


@pytest.mark.parametrize("unknown", REFUSED_BY_POSTGRES.values(), ids=REFUSED_BY_POSTGRES)
def test_what_postgres_refuses_is_refused_before(engine: Engine, unknown: str) -> None:
    with engine.connect() as connection, pytest.raises(DataError):
        connection.execute(text("SELECT CAST(:json AS jsonb)"), {"json": unknown})
    with pytest.raises((NotJsonError, InvalidPayloadError)):
        parse_upload(an_upload_with(unknown))


texts = st.text(st.characters(), max_size=5) | st.sampled_from(["\0", "\ud800", "\udfff", "\ud83d\ude00"])
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,500})(\.[0-9]{1,500})?([eE][+-]?[0-9]{1,6})?", fullmatch=True)
values = st.recursive(
    numbers | texts.map(json.dumps) | st.sampled_from(["null", "true", "NaN"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.dictionaries(texts.map(json.dumps), inner, max_size=3).map(
            lambda members: "{" + ",".join(f"{key}:{value}" for key, value in members.items()) + "}"
        )
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(unknown=values)
def test_whatever_passes_fits_postgres(engine: Engine, unknown: str) -> None:
    body = an_upload_with(unknown)
    try:
        parse_upload(body)
    except (NotJsonError, InvalidPayloadError):
        return
    with engine.connect() as connection:
        kept: Any = connection.scalar(text("SELECT CAST(:json AS jsonb)"), {"json": body.decode()})
    assert kept["client_session_uuid"] == json.loads(body)["client_session_uuid"]
