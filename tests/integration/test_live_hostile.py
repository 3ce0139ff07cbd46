"""Requests that mean harm, or were made by a broken front end: 4xx, never 5xx, and nothing is left behind."""

import json

import httpx
import pytest
from sqlalchemy import Engine

from tests.clients import OTHER_TOPIC, STUDY_TOKEN, TOPIC, Front, refusal, started
from tests.factories import everything

SECRET = "chosen-2"


def send(front: Front, path: str, body: bytes, type_: str = "application/json") -> httpx.Response:
    address = f"/study/users/{front.learner}/{path}"
    return front.web.post(address, content=body, headers=STUDY_TOKEN | {"Content-Type": type_})


START = {"study_topic_id": TOPIC}
NO_WISH = {
    "null": "null",
    "a list": "[]",
    "no topic": "{}",
    "topic null": '{"study_topic_id": null}',
    "topic a string": '{"study_topic_id": "11"}',
    "topic a fraction": '{"study_topic_id": 11.5}',
    "topic a bool": '{"study_topic_id": true}',
    "topic negative": '{"study_topic_id": -1}',
    "topic beyond a bigint": f'{{"study_topic_id": {2**63}}}',
    **{
        f"{field} {wrong}": json.dumps(START)[:-1] + f', "{field}": {wrong}}}'
        for field, many in {
            "quiz_mode": ["null", '"Random"', '""', "1", '"random\\u0000"', "[]"],
            "wrong_only": ["null", "1", '"true"'],
            "subject_filter": ['""', '"a\\u0000"', '"\\ud800"', "5", f'"{"s" * 121}"'],
            "target_per_subject": ["null", "0", "101", "-1", "2.5", '"20"', "true", f"{10**30}"],
            SECRET: ["1"],
            "question_ids": ["[110]"],
        }.items()
        for wrong in many
    },
}


@pytest.mark.usefixtures("leaves_nothing")
def test_a_start_that_is_none_is_422_and_repeats_nothing(front: Front, subtests: pytest.Subtests) -> None:
    for name, body in NO_WISH.items():
        with subtests.test(name):
            response = send(front, "sessions", body.encode())
            assert refusal(response) == (422, "invalid-request")
            assert response.json()["errors"]
            assert SECRET not in response.text


@pytest.mark.usefixtures("leaves_nothing")
def test_the_reserved_mode_is_422(front: Front) -> None:
    response = front.start(quiz_mode="wrong_variants")
    assert refusal(response) == (422, "invalid-request")
    (error,) = response.json()["errors"]
    assert error["pointer"] == "/quiz_mode"
    assert "reserved" in error["detail"]


@pytest.mark.usefixtures("leaves_nothing")
def test_a_topic_without_questions_is_422(front: Front) -> None:
    response = front.start(subject_filter="no such subject")
    assert refusal(response) == (422, "nothing-to-ask")
    assert response.json()["errors"] == [
        {"pointer": "", "detail": "no question of the topic matches the request"}
    ]


NO_ANSWER = {
    "null": "null",
    "empty": "{}",
    "no selected": '{"pub_id": "q110", "unsure": false}',
    "no unsure": '{"pub_id": "q110", "selected": 1}',
    **{
        f"{field} {wrong}": json.dumps(
            {"pub_id": "q110", "selected": 1, "unsure": False} | {field: "HERE"}
        ).replace('"HERE"', wrong)
        for field, many in {
            "pub_id": [
                "null",
                "110",
                '""',
                '"a\\u0000"',
                '"\\ud800"',
                f'"{"q" * 201}"',
                '"q111x"',
                '"q120"',
                '"q210"',
            ],
            "selected": ['"1"', "1.5", "true", "-1", "4", "32768", f"{10**30}", "[1]"],
            "unsure": ["null", "0", '"false"'],
            "answered_at": ['"2026-11-22T09:00:41Z"'],
            "outcome": ['"correct"'],
        }.items()
        for wrong in many
    },
}


def test_an_answer_that_is_none_is_422_and_leaves_nothing(
    front: Front, engine: Engine, subtests: pytest.Subtests
) -> None:
    session = started(front.start())
    started(front.start(OTHER_TOPIC))
    before = everything(engine)
    for name, body in NO_ANSWER.items():
        with subtests.test(name):
            response = send(front, f"sessions/{session}/attempts", body.encode())
            assert refusal(response) == (422, "invalid-request")
            assert response.json()["errors"]
    assert everything(engine) == before


def test_an_integer_may_be_written_with_a_point(front: Front) -> None:
    wanted = b'{"study_topic_id": 11.0, "target_per_subject": 1e1, "new_per_session": 0.0}'
    session = started(send(front, "sessions", wanted))
    for _ in range(2):  # written so, it is the same answer
        answer = b'{"pub_id": "q110", "selected": 1.0, "unsure": false}'
        answered = send(front, f"sessions/{session}/attempts", answer)
        assert (answered.status_code, answered.json()["selected"]) == (200, 1)
        assert front.answer(session, "q110", 1).status_code == 200


def test_a_fault_that_only_the_session_knows_is_pointed_at(front: Front) -> None:
    session = started(front.start())
    assert front.answer(session, "q120").json()["errors"][0]["pointer"] == "/pub_id"
    assert front.answer(session, "q110", 4).json()["errors"] == [
        {"pointer": "/selected", "detail": "Input should be less than 4"}
    ]


NO_JSON: list[tuple[bytes, str, tuple[int, str]]] = [
    (b"{", "application/json", (400, "not-json")),
    (b'{"study_topic_id": 11, "study_topic_id": 11}', "application/json", (400, "not-json")),
    (b'{"study_topic_id": NaN}', "application/json", (400, "not-json")),
    (b"[" * 10_000, "application/json", (400, "not-json")),
    (b"{}", "text/plain", (415, "unsupported-media-type")),
    (b'{"a": "' + b"a" * 2**20 + b'"}', "application/json", (413, "body-too-large")),
]


@pytest.mark.usefixtures("leaves_nothing")
def test_what_is_no_json_never_reaches_the_schema(front: Front, subtests: pytest.Subtests) -> None:
    for body, type_, expected in NO_JSON:
        for path in ("sessions", "sessions/1/attempts"):
            with subtests.test(body=body[:20], path=path):
                assert refusal(send(front, path, body, type_)) == expected


NO_QUERY: list[tuple[str, dict[str, str]]] = [
    *(("sessions", {"limit": wrong}) for wrong in ("0", "101", "-1", "", "x", "1.5", "9" * 5000, "\u0661x")),
    *((path, {"cursor": "x"}) for path in ("sessions", "reviews", "wrong-notes")),
    ("sessions", {"cursor": "W10="}),  # []
    ("sessions", {"cursor": "WyIxIl0="}),  # ["1"]
    ("sessions", {"cursor": "Wy0xXQ=="}),  # [-1]
    ("sessions", {"cursor": "WzFlMzBd"}),  # [1e30]
    ("sessions", {"cursor": "Wzk5OTk5OTk5OTk5OTk5OTk5OTldOw=="}),
    ("reviews", {"cursor": "WzFd"}),  # that of another list
    ("wrong-notes", {"cursor": "WyIyMDI2LTExLTIyVDAwOjAwOjAwIiwxXQ=="}),  # a time without an offset
    ("sessions", {"cursor": "\u00e9"}),
    ("sessions", {"cursor": "A" * 300}),
    *(
        ("reviews", {"due_before": wrong})
        for wrong in (
            "",
            "20261122",
            "2026-W47-7",
            "2026-02-30",
            "0000-01-01",
            "1795305641",
            "2026-11-22T00:00:00Z",
        )
    ),
    *(("wrong-notes", {"state": wrong}) for wrong in ("", "none", "Open", "open\0")),
    *((path, {SECRET: "1"}) for path in ("sessions", "reviews", "wrong-notes")),
]


@pytest.mark.usefixtures("leaves_nothing")
def test_a_query_that_is_none_is_422(front: Front, subtests: pytest.Subtests) -> None:
    for path, query in NO_QUERY:
        with subtests.test(path=path, query=str(query)[:40]):
            response = front.get(path, **query)
            assert refusal(response) == (422, "invalid-request")
            assert response.json()["errors"]
            assert SECRET not in response.text
