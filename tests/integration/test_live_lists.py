"""What the front end lists: whole, in order, page by page, whatever is inserted meanwhile."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.clients import OTHER_TOPIC, TOPIC, Clock, Front, rfc3339, started
from tests.factories import BEN, NO_CHOICE, RIGHT, WRONG, answer, ingest, load, question, upload

MISSED = range(110, 120)
EACH_LIST = pytest.mark.parametrize(
    ("path", "query"),
    [("sessions", {}), ("reviews", {"due_before": "2027-01-01"}), ("wrong-notes", {}), ("progress", {})],
)
QUERIES: tuple[tuple[str, dict[str, str]], ...] = (
    ("reviews", {"due_before": "2027-01-01"}),
    ("wrong-notes", {}),
)
LONGEST = 200  # characters of a public id


@pytest.fixture
def learned(front: Front, engine: Engine, clock: Clock) -> Front:
    """Make a learner who has missed many questions, one a minute, and sat as many sessions."""
    load(engine, {"questions": [question(number) for number in MISSED[2:]]})
    for number in MISSED:
        front.sit((f"q{number}", WRONG))
        clock.advance(minutes=1)
    return front


def pages(front: Front, path: str, limit: int, between: Callable[[], object], **query: str) -> Iterator[Any]:
    """Read a list to its end; something happens between two pages."""
    cursor: dict[str, str] = {}
    while True:
        page = front.get(path, limit=limit, **query, **cursor).json()
        assert len(page["items"]) <= limit
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}
        between()


def nothing() -> None:
    pass


@EACH_LIST
def test_pages_of_any_size_make_the_same_list(learned: Front, path: str, query: dict[str, str]) -> None:
    whole = learned.get(path, limit=100, **query).json()["items"]
    assert len(whole) == len(MISSED)
    for limit in (1, 4, len(MISSED), 100):
        assert list(pages(learned, path, limit, nothing, **query)) == whole


@pytest.mark.parametrize("letter", ["q", "\ud55c", "\U0001f600", '"'])
def test_a_page_begins_after_the_longest_public_id(front: Front, engine: Engine, letter: str) -> None:
    longest = letter * LONGEST
    load(engine, {"questions": [question(112, longest), question(113, longest[1:] + "\U0001f601")]})
    for pub_id in ("q110", longest, longest[1:] + "\U0001f601"):
        front.sit((pub_id, WRONG))
    whole = front.get("progress").json()["items"]
    assert len(whole) == 3
    assert list(pages(front, "progress", 1, nothing)) == whole


@EACH_LIST
def test_pages_are_stable_while_sessions_end_and_uploads_arrive(
    learned: Front, engine: Engine, clock: Clock, path: str, query: dict[str, str]
) -> None:
    load(engine, {"questions": [question(number) for number in range(121, 130)]})
    fresh = iter(range(121, 130))

    def more() -> None:
        clock.advance(minutes=1)
        early = (clock.now - timedelta(days=30)).isoformat()
        for number in islice(fresh, 1):
            learned.sit((f"q{number}", NO_CHOICE), topic=OTHER_TOPIC)
        for number in islice(fresh, 1):
            ingest(engine, upload(answer(f"q{number}", early, WRONG), finished_at=early), clock.now)

    before = learned.get(path, limit=100, **query).json()["items"]
    read = list(pages(learned, path, 2, more, **query))
    assert [each for each in read if each in before] == before
    keys = [str(each.get("session_id") or each["pub_id"]) for each in read]
    assert len(set(keys)) == len(keys)


def test_past_sessions_are_those_that_are_closed_each_with_its_snapshot(
    front: Front, engine: Engine, clock: Clock
) -> None:
    done = front.sit(("q110", RIGHT))
    left = front.abandon(started(front.start())).json()
    started(front.start())
    front_of_ben = Front(front.web, BEN)
    sent = upload(answer("q110", clock.now.isoformat(), WRONG), finished_at=clock.now.isoformat())
    ingest(engine, sent, clock.now)

    items = front.get("sessions").json()["items"]

    assert [(each["status"], each["source"]) for each in items] == [
        ("done", "viewer"),
        ("abandoned", "live"),
        ("done", "live"),
    ]
    assert [each["session_id"] for each in items][1:] == [left["session_id"], done["session_id"]]
    assert items[2]["snapshot"] == done["snapshot"]
    # The same moment as the right answer: a miss comes first there, so that this was the first answer.
    assert (items[0]["snapshot"]["wrong_count"], items[0]["snapshot"]["relapsed_count"]) == (1, 0)
    assert front_of_ben.get("sessions").json() == {"items": [], "next_cursor": None}


def test_an_uploaded_session_is_read_like_a_live_one(front: Front, engine: Engine, clock: Clock) -> None:
    at = clock.now.isoformat()
    ingest(
        engine, upload(answer("q111", at, WRONG), answer("q110", at), answer("q110", at, WRONG)), clock.now
    )
    (item,) = front.get("sessions").json()["items"]

    session = front.read(item["session_id"])

    assert [(each["pub_id"], each["answer"]["outcome"]) for each in session["questions"]] == [
        ("q111", "wrong"),
        ("q110", "correct"),
    ]
    assert (session["snapshot"], session["cursor"]) == (item["snapshot"], 2)
    closed = front.finalize(item["session_id"]).json()
    assert (closed["status"], closed["snapshot"]) == ("done", item["snapshot"])


def test_reviews_are_due_before_a_day_and_without_one_by_tonight(
    front: Front, engine: Engine, clock: Clock
) -> None:
    front.sit(("q110", RIGHT), ("q111", WRONG))
    due = {
        each["pub_id"]: each["due"] for each in front.get("reviews", due_before="2027-01-01").json()["items"]
    }
    assert due == {"q111": "2026-11-21", "q110": "2026-11-22"}

    def listed(**query: str) -> list[str]:
        return [each["pub_id"] for each in front.get("reviews", **query).json()["items"]]

    assert listed() == listed(due_before="2026-11-21") == []
    assert listed(due_before="2026-11-22") == ["q111"]
    clock.advance(hours=18, minutes=59)  # 03:59: still yesterday's study day
    assert listed() == []
    clock.advance(minutes=1)
    assert listed() == ["q111"]
    clock.advance(days=1)
    assert listed() == ["q111", "q110"]
    load(engine, {"questions": [question(111, retired_at="2026-01-01T00:00:00Z")]})
    assert listed() == ["q110"]


def test_a_question_that_moves_leaves_the_lists_of_its_former_owner_and_comes_back(
    front: Front, engine: Engine
) -> None:
    front.sit(("q110", WRONG), ("q111", WRONG))
    stored = front.get("progress").json()

    def listed() -> list[set[str]]:
        lists = [front.get(path, **query).json()["items"] for path, query in QUERIES]
        return [{each["pub_id"] for each in items} for items in lists]

    load(engine, {"questions": [question(110, user_id=BEN, study_topic_id=21)]}, force=True)
    assert listed() == [{"q111"}] * len(QUERIES)
    assert front.get("progress").json() == stored
    load(engine, {"questions": [question(110)]}, force=True)
    assert listed() == [{"q110", "q111"}] * len(QUERIES)


def test_wrong_notes_open_close_and_reopen(front: Front, clock: Clock) -> None:
    def listed(state: str) -> list[str]:
        return [each["pub_id"] for each in front.get("wrong-notes", state=state).json()["items"]]

    opened = rfc3339(clock.now)
    front.sit(("q110", WRONG), ("q111", RIGHT))
    assert (listed("open"), listed("closed")) == (["q110"], [])
    for _ in range(2):
        closed = rfc3339(clock.advance(days=1))
        front.sit(("q110", RIGHT))
    assert (listed("open"), listed("closed")) == ([], ["q110"])
    (note,) = front.get("wrong-notes", state="closed").json()["items"]
    assert (note["opened_at"], note["closed_at"], note["misses"]) == (opened, closed, 1)
    reopened = rfc3339(clock.advance(days=1))
    front.sit(("q110", NO_CHOICE))
    (note,) = front.get("wrong-notes").json()["items"]
    assert (note["opened_at"], note["closed_at"], note["retired"]) == (reopened, None, False)
    assert listed("closed") == []


def test_weak_areas_are_computed_subject_by_subject(front: Front, engine: Engine, clock: Clock) -> None:
    assert front.get(f"topics/{TOPIC}/weak-areas").json() == {"items": []}
    load(engine, {"questions": [question(112)]})
    for _ in range(3):
        front.sit(("q110", WRONG), ("q111", RIGHT), ("q112", RIGHT))
        clock.advance(days=1)
    session = started(front.start())
    front.answer(session, "q111", RIGHT, unsure=True)  # a right choice all the same
    front.answer(session, "q112", WRONG, unsure=True)
    front.finalize(session)

    weak, strong = front.get(f"topics/{TOPIC}/weak-areas").json()["items"]

    recall = weak.pop("mean_retrievability")
    assert weak == {
        "subject": "subject 0",
        "questions": 2,
        "reviews": 7,
        "misses": 4,
        "accuracy": 1 - 4 / 7,
        "chronic": ["q110"],
    }
    assert (strong["accuracy"], strong["chronic"], strong["mean_retrievability"]) == (1, [], 1)
    assert 0 < recall < 1
    clock.advance(days=30)
    later = front.get(f"topics/{TOPIC}/weak-areas").json()["items"]
    assert later[0]["mean_retrievability"] < recall
    assert front.get(f"topics/{OTHER_TOPIC}/weak-areas").json() == {"items": []}
