"""What counts as an upload, and which uploads are the same."""

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.payload import (
    MAX_DEPTH,
    MAX_FAULTS,
    MAX_VALUES,
    InvalidPayloadError,
    NotJsonError,
    Upload,
    content_hash,
    normal_id,
    parse_upload,
)

# Any offset that RFC 3339 can write, to the minute.
zones = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones)  # noqa: DTZ001  # in any zone
written = moments.map(datetime.isoformat)
storable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
attempts = st.fixed_dictionaries(
    {
        "pub_id": st.text(storable, min_size=1, max_size=200).filter(
            lambda it: len(normal_id(it)) <= 200 and not it.replace("\ufeff", " ").isspace()
        ),
        "selected": st.none() | st.integers(0, 32767),
        "unsure": st.booleans(),
        "answered_at": written,
    }
)
uploads = st.fixed_dictionaries(
    {"client_session_uuid": st.uuids().map(str), "attempts": st.lists(attempts, min_size=1, max_size=3)},
    optional={name: st.none() | written for name in ("started_at", "finished_at", "sent_at")},
)

PLAIN: dict[str, Any] = {
    "client_session_uuid": "6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11",
    "started_at": "2026-11-22T09:00:00+09:00",
    "finished_at": "2026-11-22T09:12:30+09:00",
    "attempts": [
        {"pub_id": "q-1", "selected": 2, "unsure": False, "answered_at": "2026-11-22T09:00:41+09:00"},
        {"pub_id": "q-2", "selected": None, "unsure": True, "answered_at": "2026-11-22T09:01:10+09:00"},
    ],
}


def parse(value: Any) -> Upload:
    return parse_upload(json.dumps(value).encode())


def faults(value: Any) -> list[str]:
    with pytest.raises(InvalidPayloadError) as caught:
        parse(value)
    return [fault["pointer"] for fault in caught.value.errors]


@given(uploads)
def test_an_upload_says_what_was_sent(sent: dict[str, Any]) -> None:
    upload = parse(sent)

    assert str(upload.client_session_uuid) == sent["client_session_uuid"]
    for read, attempt in zip(upload.attempts, sent["attempts"], strict=True):
        assert (read.pub_id, read.selected, read.unsure) == (
            normal_id(attempt["pub_id"]),
            attempt["selected"],
            attempt["unsure"],
        )
        sent_at = datetime.fromisoformat(attempt["answered_at"])
        assert (read.answered_at, read.answered_at.utcoffset()) == (sent_at, sent_at.utcoffset())
    assert Upload.model_validate(sent) == upload


@given(uploads)
def test_an_upload_comes_back_from_its_own_json(sent: dict[str, Any]) -> None:
    upload = parse(sent)
    again = parse_upload(upload.model_dump_json().encode())
    assert again == upload
    assert content_hash(again) == content_hash(upload)


@given(sent=uploads, later=written, zone=zones, escaped=st.booleans())
def test_I8_the_hash_ignores_how_and_when_it_was_sent(
    sent: dict[str, Any], later: str, zone: timezone, *, escaped: bool
) -> None:
    attempts = [each | {"answered_at": elsewhere(each["answered_at"], zone)} for each in sent["attempts"]]
    respelt = dict(reversed(sent.items())) | {
        "sent_at": later,
        "client_session_uuid": sent["client_session_uuid"].upper(),
        "unknown": 1,
        "attempts": attempts,
    }
    body = json.dumps(respelt, indent=2, ensure_ascii=escaped).encode()
    assert content_hash(parse_upload(body)) == content_hash(parse(sent))


def elsewhere(moment: str, zone: timezone) -> str:
    return datetime.fromisoformat(moment).astimezone(zone).isoformat()


@pytest.mark.parametrize(
    "change",
    [
        {"client_session_uuid": "6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e12"},
        {"started_at": "2026-11-22T09:00:00.000001+09:00"},
        {"started_at": "2026-11-22T08:59:59.999999+09:00"},
        {"started_at": None},
        {"started_at": PLAIN["finished_at"], "finished_at": PLAIN["started_at"]},
        {"attempts": PLAIN["attempts"][::-1]},
        {"attempts": PLAIN["attempts"][:1]},
        {"attempts": PLAIN["attempts"] + PLAIN["attempts"][:1]},
        *(
            {"attempts": [PLAIN["attempts"][0] | change, PLAIN["attempts"][1]]}
            for change in (
                {"pub_id": "q-1-"},
                {"selected": 3},
                {"selected": None},
                {"unsure": True},
                {"answered_at": "2026-11-22T09:00:41Z"},
            )
        ),
    ],
)
def test_I8_the_hash_tells_other_content_apart(change: dict[str, Any]) -> None:
    assert content_hash(parse(PLAIN | change)) != content_hash(parse(PLAIN))


@pytest.mark.parametrize("year", [2000, 2026, 2099])
def test_I8_the_hash_tells_a_microsecond_apart(year: int) -> None:
    first, second = (f"{year}-12-31T23:59:59.99999{digit}+09:00" for digit in (8, 9))
    assert content_hash(parse(PLAIN | {"started_at": first})) != content_hash(
        parse(PLAIN | {"started_at": second})
    )


@given(upload=uploads.map(parse))
def test_I8_the_hash_is_of_the_normal_form(upload: Upload) -> None:
    """Every release computes it: another form would make conflicts of repeats while two releases run."""
    moments = [upload.started_at, upload.finished_at, *(each.answered_at for each in upload.attempts)]
    started, finished, *answered = [each and each.astimezone(UTC).isoformat() for each in moments]
    attempts = [
        [each.pub_id, each.selected, each.unsure, at]
        for each, at in zip(upload.attempts, answered, strict=True)
    ]
    normal = json.dumps([str(upload.client_session_uuid), started, finished, attempts])
    assert content_hash(upload) == f"1:{hashlib.sha256(normal.encode()).hexdigest()}"


def test_I8_the_hash_stays_what_is_stored() -> None:
    normal = (
        '["6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11", "2026-11-22T00:00:00+00:00", "2026-11-22T00:12:30+00:00", '
        '[["q-1", 2, false, "2026-11-22T00:00:41+00:00"], ["q-2", null, true, "2026-11-22T00:01:10+00:00"]]]'
    )
    assert content_hash(parse(PLAIN)) == f"1:{hashlib.sha256(normal.encode()).hexdigest()}"


@pytest.mark.parametrize("written", ["2.0", "2e0", "20e-1", "2.000000000000000000000", "0.02E+2"])
def test_an_integer_may_be_written_with_a_point(written: str) -> None:
    body = json.dumps(PLAIN).replace('"selected": 2', f'"selected": {written}')
    upload = parse_upload(body.encode())
    assert content_hash(upload) == content_hash(parse(PLAIN))
    # As a worker reads it, from what Postgres stored.
    assert Upload.model_validate(json.loads(body)) == upload


@pytest.mark.parametrize("written", [0, 2**128 - 1])
def test_a_uuid_that_many_clients_send_is_refused_as_what_it_is(written: int) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        parse(PLAIN | {"client_session_uuid": str(UUID(int=written))})
    assert caught.value.errors == [
        {
            "pointer": "/client_session_uuid",
            "detail": "Input should be a UUID made for this session, not nil or all ones",
        }
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-11-22T09:00:41Z", "2026-11-22T09:00:41+00:00"),
        ("2026-11-22t09:00:41z", "2026-11-22T09:00:41+00:00"),
        ("2026-11-22T09:00:41-00:00", "2026-11-22T09:00:41+00:00"),
        ("2026-11-22T09:00:41.5+09:00", "2026-11-22T00:00:41.500000+00:00"),
        ("2026-11-22T09:00:41.123456789Z", "2026-11-22T09:00:41.123456+00:00"),
        ("2024-02-29T23:59:59-23:59", "2024-03-01T23:58:59+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_times_are_read_as_utc(written: str, read: str) -> None:
    assert parse(PLAIN | {"started_at": written}).started_at == datetime.fromisoformat(read)


def test_every_fault_is_pointed_at_up_to_a_limit() -> None:
    wrong = PLAIN | {"sent_at": 5, "attempts": [PLAIN["attempts"][0], {"selected": True, "unsure": "false"}]}
    assert faults(wrong) == [
        "/sent_at",
        "/attempts/1/pub_id",
        "/attempts/1/selected",
        "/attempts/1/unsure",
        "/attempts/1/answered_at",
    ]
    assert len(faults(PLAIN | {"attempts": [{}] * 500})) == MAX_FAULTS


def test_I11_a_pointer_names_no_key_of_the_client_s_own() -> None:
    attempt = PLAIN["attempts"][0]
    assert faults(PLAIN | {"secret": ["\0"]}) == [""]
    assert faults(PLAIN | {"attempts": [attempt | {"secret": {"pub_id": "\ud800"}}]}) == ["/attempts/0"]
    assert faults(PLAIN | {"attempts": [attempt | {"pub_id": "\0"}]}) == ["/attempts/0/pub_id"]
    assert faults(PLAIN | {"secret\0": 1}) == [""]


@given(st.text(min_size=4))
def test_I11_no_error_quotes_the_body(secret: str) -> None:
    marked = f"<{secret}>"
    for field in PLAIN["attempts"][0]:
        attempt = PLAIN["attempts"][0] | {field: [marked]}
        with pytest.raises(InvalidPayloadError) as caught:
            parse(PLAIN | {"attempts": [attempt]})
        assert marked not in str(caught.value.errors)


@pytest.mark.parametrize("brackets", ["[]", '[{"a":'])
def test_nesting_is_limited(brackets: str) -> None:
    opening, closing = ("[", "]") if brackets == "[]" else ('{"a":', "}")
    for depth, is_limit in [(MAX_DEPTH, False), (MAX_DEPTH + 1, True)]:
        with pytest.raises(InvalidPayloadError) as caught:
            parse_upload(f"{opening * depth}1{closing * depth}".encode())
        assert ("nests deeper" in caught.value.errors[0]["detail"]) == is_limit


def test_brackets_in_strings_nest_nothing() -> None:
    assert parse(PLAIN | {"unknown": '\\"[{' * 1000})


def test_values_are_limited() -> None:
    for values, is_limit in [(MAX_VALUES, False), (MAX_VALUES + 1, True)]:
        for body in ([1] * values, dict.fromkeys(range(values), 1)):
            with pytest.raises(InvalidPayloadError) as caught:
                parse(body)
            assert ("holds more than" in caught.value.errors[0]["detail"]) == is_limit


def test_commas_in_strings_are_no_values() -> None:
    assert parse(PLAIN | {"unknown": '\\",[{' * MAX_VALUES})


@given(st.binary())
def test_no_body_breaks_the_reader(body: bytes) -> None:
    with pytest.raises((NotJsonError, InvalidPayloadError)):
        parse_upload(body)


@given(st.text('[]{}":,\\u0d8an1e.-\x00 tf', max_size=60))
def test_nothing_like_json_breaks_the_reader(body: str) -> None:
    with pytest.raises((NotJsonError, InvalidPayloadError)):
        parse_upload(body.encode())


@pytest.mark.parametrize(("letter", "fits"), [("\u1112\u1161\u11ab", True), ("\ufb2c", False)])
def test_a_public_id_is_as_long_as_it_is_stored(letter: str, *, fits: bool) -> None:
    # Three characters that become one, and one that becomes three.
    sent = PLAIN | {"attempts": [PLAIN["attempts"][0] | {"pub_id": f" {letter * 200} "}]}
    if fits:
        assert parse(sent).attempts[0].pub_id == "\ud55c" * 200
    else:
        assert faults(sent) == ["/attempts/0/pub_id"]


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\N{NO-BREAK SPACE}", "\N{ZERO WIDTH NO-BREAK SPACE} "])
def test_a_public_id_of_spaces_names_nothing(blank: str) -> None:
    with pytest.raises(InvalidPayloadError):
        parse(PLAIN | {"attempts": [PLAIN["attempts"][0] | {"pub_id": blank}]})
