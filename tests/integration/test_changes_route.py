"""The route that a document server follows: its form, its wait, and what it refuses."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.clients import STUDY_TOKEN, Front, refusal
from tests.factories import ANN, RIGHT, WRONG, answer, ingest, upload

AT = "2026-11-19T09:00:00Z"


def read(front: Front, **query: Any) -> httpx.Response:
    return front.web.get("/study/changes", params=query, headers=STUDY_TOKEN, timeout=60)


def test_a_copy_is_kept_by_what_next_says(front: Front, engine: Engine) -> None:
    ingest(engine, upload(answer("q110", AT)))
    first = read(front).json()
    (learner,) = first["learners"]
    assert (learner["user_id"], learner["complete"], first["more"]) == (ANN, True, False)
    assert [each["question_id"] for each in learner["questions"]] == [110]
    assert read(front, after=first["next"]).json() == first | {"learners": []}

    front.sit(("q110", WRONG), ("q111", RIGHT))
    (learner,) = read(front, after=first["next"]).json()["learners"]
    named = {each["question_id"]: each for each in learner["questions"]}
    assert named.keys() == {110, 111}
    listed = {each["pub_id"]: each for each in front.get("progress").json()["items"]}
    assert named[110] == {"question_id": 110} | {k: v for k, v in listed["q110"].items() if k != "pub_id"}


def test_a_reader_that_waits_is_answered_once_something_changes(front: Front, engine: Engine) -> None:
    cursor = read(front).json()["next"]
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(read, front, after=cursor, wait=30)
        ingest(engine, upload(answer("q110", AT)))
        assert len(waiting.result().json()["learners"]) == 1


def test_I12_readers_that_wait_leave_room_for_others(front: Front, engine: Engine) -> None:
    cursor = read(front).json()["next"]
    with ThreadPoolExecutor(40) as readers:  # more than WEB_REQUESTS
        waiting = [readers.submit(read, front, after=cursor, wait=30) for _ in range(40)]
        assert front.get("sessions").status_code == 200
        ingest(engine, upload(answer("q110", AT)))
        assert all(each.result().status_code == 200 for each in waiting)


def test_a_forged_place_on_the_way_is_answered(front: Front, engine: Engine) -> None:
    ingest(engine, upload(answer("q110", AT)))
    after = read(front).json()["next"]
    largest = 2**63 - 1
    for way in ("0-0", f"1-{largest}", f"1-{largest}-{largest}", f"1-{ANN}-{largest}"):
        assert read(front, after=f"{after}-{way}").status_code == 200


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"after": "x"}, (422, "invalid-request")),
        ({"after": "1-2"}, (422, "invalid-request")),
        ({"after": "-1"}, (422, "invalid-request")),
        ({"after": f"00000000-{2**60}"}, (410, "unknown-cursor")),
        ({"after": "00000000-1"}, (410, "unknown-cursor")),
        ({"after": "00000000-1-2-" + "9" * 19}, (422, "invalid-request")),  # no bigint
        ({"after": "0" * 101}, (422, "invalid-request")),
        ({"wait": 31}, (422, "invalid-request")),
        ({"limit": 0}, (422, "invalid-request")),
    ],
)
def test_refused(front: Front, query: dict[str, Any], problem: tuple[int, str]) -> None:
    assert refusal(read(front, **query)) == problem


def test_a_token_is_needed(front: Front) -> None:
    assert refusal(front.web.get("/study/changes")) == (401, "unauthenticated")


def test_progress_is_paged_and_names_its_version(front: Front, engine: Engine) -> None:
    ingest(engine, upload(*(answer(f"q1{n}", AT) for n in ("10", "11", "20"))))
    page = front.get("progress", limit=2)
    assert [each["pub_id"] for each in page.json()["items"]] == ["q110", "q111"]
    rest = front.get("progress", limit=2, cursor=page.json()["next_cursor"]).json()
    assert ([each["pub_id"] for each in rest["items"]], rest["next_cursor"]) == (["q120"], None)
    known = {"If-None-Match": page.headers["ETag"]} | STUDY_TOKEN
    path = f"/study/users/{ANN}/progress"
    assert front.web.get(path, params={"limit": 2}, headers=known).status_code == 304
    front.sit(("q110", WRONG))
    assert front.web.get(path, params={"limit": 2}, headers=known).status_code == 200
