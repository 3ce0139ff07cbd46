"""Bodies that mean harm, or were made by a broken client: 4xx, never 5xx, and nothing is left behind."""

import json
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from shared.payload import EXAMPLE_UPLOAD
from tests.processes import until

ENDPOINT = "/ingest/study/attempts"
GOOD = json.dumps(EXAMPLE_UPLOAD)
SECRET = "chosen-2"


def with_unknown(json_text: str) -> bytes:
    """Hide a JSON text in a field that nobody reads."""
    return f'{GOOD[:-1]}, "unknown": {json_text}}}'.encode()


def changed(field: str, json_text: str) -> bytes:
    return json.dumps(EXAMPLE_UPLOAD | {field: "HERE"}).replace('"HERE"', json_text).encode()


def attempt(field: str, json_text: str) -> bytes:
    one = EXAMPLE_UPLOAD["attempts"][0] | {field: "HERE"}  # type: ignore[index,operator]
    return json.dumps(EXAMPLE_UPLOAD | {"attempts": [one]}).replace('"HERE"', json_text).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in EXAMPLE_UPLOAD.items() if name != field}).encode()


NO_JSON = {
    "empty": b"",
    "half": GOOD[:40].encode(),
    "two documents": f"{GOOD}{GOOD}".encode(),
    "comment": f"{GOOD} // {SECRET}".encode(),
    "single quotes": b"{'a': 1}",
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "utf-16": GOOD.encode("utf-16"),
    "latin-1": with_unknown('"\u00e9"').decode().encode("latin-1"),
    "overlong utf-8": with_unknown('"?"').replace(b"?", b"\xc0\x80"),
    "surrogate in utf-8": with_unknown('"?"').replace(b"?", b"\xed\xa0\x80"),
    "raw NUL": with_unknown('"\0"'),
    "raw newline in a string": with_unknown('"\n"'),
    "NaN": attempt("selected", "NaN"),
    "NaN in an unknown field": with_unknown("NaN"),
    "Infinity": with_unknown("[-Infinity]"),
    "duplicate key": changed("started_at", 'null, "started_at": null'),
    "duplicate key, written differently": changed("started_at", 'null, "st\\u0061rted_at": null'),
    "duplicate key in an attempt": attempt("selected", '1, "selected": 2'),
    "duplicate key in an unknown field": with_unknown('{"a": 1, "a": 1}'),
    "a million escaped quotes": b'"' + b'\\"' * 500_000,
}

# To send them again is no use.
BEYOND_A_LIMIT = {
    "beyond a double": with_unknown("1e999"),
    "beyond numeric": with_unknown("1e200000"),
    "too small for numeric": with_unknown("1e-20000"),
    "zero, too fine for numeric": with_unknown("0e-20000"),
    "140,000 digits": with_unknown("9" * 140_000),
    "20,000 decimals": with_unknown("0." + "1" * 20_000),
    "a huge exponent": with_unknown("1e" + "9" * 5_000),
    "10,000 arrays": b"[" * 10_000 + b"]" * 10_000,
    "10,000 arrays in an unknown field": with_unknown("[" * 10_000 + "]" * 10_000),
    "10,000 objects in an unknown field": with_unknown('{"a":' * 10_000 + "1" + "}" * 10_000),
    "a million open arrays": b"[" * 1_000_000,
    "numbers that write out to megabytes": with_unknown(f"[{'1e-999,' * 19_000}1]"),
    "the same above zero": with_unknown(f"[{'1E+308,' * 19_000}1]"),
    "the same as zeros": with_unknown(f"[{'-0.0e999,' * 19_000}1]"),
    "the same, a few digits each": with_unknown(f"[{'1234.5e-99,' * 19_000}1]"),
    "an exponent of 5,000 digits below zero": with_unknown("1e-" + "9" * 5_000),
    "half a million numbers": with_unknown(f"[{'1,' * 500_000}1]"),
    "300,000 objects": with_unknown(f"[{'{},' * 300_000}1]"),
}

NO_UPLOAD = {
    "null": b"null",
    "a string": b'"6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11"',
    "a list": f"[{GOOD}]".encode(),
    "no attempts": changed("attempts", "[]"),
    "attempts null": changed("attempts", "null"),
    "attempts an object": changed("attempts", "{}"),
    "501 attempts": changed("attempts", json.dumps(EXAMPLE_UPLOAD["attempts"][:1] * 501)),  # type: ignore[index]
    "an attempt null": changed("attempts", "[null]"),
    "no uuid": without("client_session_uuid"),
    "uuid null": changed("client_session_uuid", "null"),
    "uuid without dashes": changed("client_session_uuid", f'"{uuid4().hex}"'),
    "uuid in braces": changed("client_session_uuid", f'"{{{uuid4()}}}"'),
    "uuid as urn": changed("client_session_uuid", f'"urn:uuid:{uuid4()}"'),
    "uuid and newline": changed("client_session_uuid", f'"{uuid4()}\\n"'),
    "uuid in other digits": changed("client_session_uuid", f'"\uff16{str(uuid4())[1:]}"'),
    "uuid nil": changed("client_session_uuid", f'"{UUID(int=0)}"'),
    "uuid all ones": changed("client_session_uuid", f'"{UUID(int=2**128 - 1)}"'),
    "uuid all ones in capitals": changed("client_session_uuid", f'"{UUID(int=2**128 - 1)}"'.upper()),
    "uuid a number": changed("client_session_uuid", "5"),
    "pub_id a number": attempt("pub_id", "5"),
    "pub_id empty": attempt("pub_id", '""'),
    "pub_id too long": attempt("pub_id", f'"{"q" * 201}"'),
    "pub_id with NUL": attempt("pub_id", '"q\\u0000"'),
    "pub_id with half a surrogate pair": attempt("pub_id", '"\\ud83d"'),
    "NUL in an unknown field": with_unknown('["\\u0000"]'),
    "NUL in an unknown key": with_unknown('{"\\u0000": 1}'),
    "lone surrogate in an unknown field": with_unknown('"\\udc00"'),
    "lone surrogate in an unknown key": with_unknown('{"a\\ud800b": 1}'),
    "surrogates the wrong way round": with_unknown('"\\ude00\\ud83d"'),
    "no selected": attempt("selected", '1, "x": 1').replace(b'"selected"', b'"chosen"'),
    "selected a string": attempt("selected", '"2"'),
    "selected a fraction": attempt("selected", "2.5"),
    "selected a fraction that a double rounds": attempt("selected", "2.00000000000000000001"),
    "selected a fraction that a double loses": attempt("selected", "1e-999"),
    "selected a float too large": attempt("selected", "32768.0"),
    "selected a float in a string": attempt("selected", '"2.0"'),
    "selected a bool": attempt("selected", "true"),
    "selected negative": attempt("selected", "-1"),
    "selected too large": attempt("selected", "32768"),
    "selected a list": attempt("selected", "[2]"),
    "unsure a string": attempt("unsure", '"false"'),
    "unsure a number": attempt("unsure", "0"),
    "unsure null": attempt("unsure", "null"),
    "time null": attempt("answered_at", "null"),
    "time without offset": attempt("answered_at", '"2026-11-22T09:00:41"'),
    "time in epoch seconds": attempt("answered_at", "1795305641"),
    "time in an epoch string": attempt("answered_at", '"1795305641"'),
    "only a date": attempt("answered_at", '"2026-11-22"'),
    "a week date": attempt("answered_at", '"2026-W47-7T09:00:41Z"'),
    "time in the basic form": attempt("answered_at", '"20261122T090041Z"'),
    "time with a blank": attempt("answered_at", '"2026-11-22 09:00:41Z"'),
    "time with a comma": attempt("answered_at", '"2026-11-22T09:00:41,5Z"'),
    "time without seconds": attempt("answered_at", '"2026-11-22T09:00Z"'),
    "time with a short offset": attempt("answered_at", '"2026-11-22T09:00:41+09"'),
    "time and newline": attempt("answered_at", '"2026-11-22T09:00:41Z\\n"'),
    "time in other digits": attempt("answered_at", '"\uff12026-11-22T09:00:41Z"'),
    "hour 24": attempt("answered_at", '"2026-11-22T24:00:00Z"'),
    "a leap second": attempt("answered_at", '"2016-12-31T23:59:60Z"'),
    "30 February": attempt("answered_at", '"2026-02-30T00:00:00Z"'),
    "year 0": attempt("answered_at", '"0000-01-01T00:00:00Z"'),
    "before year 1 in UTC": attempt("answered_at", '"0001-01-01T00:00:00+09:00"'),
    "after year 9999 in UTC": attempt("answered_at", '"9999-12-31T23:59:59-09:00"'),
    "an offset of a day": attempt("answered_at", '"2026-11-22T09:00:41+24:00"'),
    "an optional time a number": changed("sent_at", "0"),
    "an optional time empty": changed("started_at", '""'),
}


@pytest.fixture
def leaves_nothing(
    web: httpx.Client, engine: Engine, enqueued_uploads: Callable[[], list[str]]
) -> Iterator[None]:
    """Prove at the end that a good upload is the first that left a row or a message."""
    yield
    good = str(uuid4())
    assert web.post(ENDPOINT, json=EXAMPLE_UPLOAD | {"client_session_uuid": good}).status_code == 202
    # In the order of their arrival: an earlier one would be here too.
    until(enqueued_uploads, "it is enqueued")
    assert enqueued_uploads() == [good]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM uploads")) == 1
        assert connection.scalar(text("SELECT count(*) FROM upload_conflicts")) == 0


def send(web: httpx.Client, body: bytes) -> httpx.Response:
    return web.post(ENDPOINT, content=body, headers={"Content-Type": "application/json"})


@pytest.mark.usefixtures("leaves_nothing")
def test_what_is_no_json_is_400(web: httpx.Client, subtests: pytest.Subtests) -> None:
    for name, body in NO_JSON.items():
        with subtests.test(name):
            response = send(web, body)
            assert (response.status_code, response.json()["type"]) == (400, "/problems/not-json")
            assert SECRET not in response.text


@pytest.mark.usefixtures("leaves_nothing")
def test_json_that_is_no_upload_is_422(web: httpx.Client, subtests: pytest.Subtests) -> None:
    for name, body in (NO_UPLOAD | BEYOND_A_LIMIT).items():
        with subtests.test(name):
            response = send(web, body)
            assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-payload")
            assert response.json()["errors"]
