"""An exam that lies ahead, questions that will be withdrawn, and sessions that ask what is due."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.clients import OTHER_TOPIC, TOPIC, Clock, Front
from tests.factories import ANN, RIGHT, WRONG, load, question


def exam(engine: Engine, on: str | None) -> None:
    load(engine, {"topics": [{"id": TOPIC, "user_id": ANN, "name": "topic 1", "exam_on": on}]})


def asked(front: Front, **form: Any) -> list[str]:
    """Start a session and abandon it; return what it asked, in that order."""
    session = front.start(**form).json()
    front.abandon(session["session_id"])
    return [each["pub_id"] for each in session["questions"]]


@pytest.fixture
def learned(front: Front, clock: Clock) -> Front:
    """Answer q110 so well that it is due in months, and q120 of another topic too; it is 2027-01-03 then."""
    for _ in range(4):
        front.sit(("q110", RIGHT))
        front.sit(("q120", RIGHT), topic=OTHER_TOPIC)
        clock.advance(days=10)
    front.sit(("q110", WRONG))
    for _ in range(2):
        clock.advance(days=2)
        front.sit(("q110", RIGHT))
    return front


def due(front: Front, before: str = "2100-01-01", **page: int) -> dict[str, str]:
    items = front.get("reviews", due_before=before, **page).json()["items"]
    return {item["pub_id"]: item["due"] for item in items}


def test_while_an_exam_lies_ahead_no_due_date_is_shown_later_than_it(
    learned: Front, engine: Engine, clock: Clock
) -> None:
    free = due(learned)
    note = learned.get("wrong-notes", state="closed").json()["items"][0]
    assert min(free.values()) > "2027-01-05"
    assert note["due"] == free["q110"]

    exam(engine, "2027-01-04")

    assert due(learned) == free | {"q110": "2027-01-04"}
    assert list(due(learned)) == ["q110", "q120"]
    assert due(learned, before="2027-01-05") == {"q110": "2027-01-04"}
    assert due(learned, before="2027-01-04") == {}
    assert learned.get("wrong-notes", state="closed").json()["items"][0]["due"] == "2027-01-04"
    closed = learned.sit(("q110", RIGHT))
    assert closed["questions"] == [{"pub_id": "q110", "due": "2027-01-04"}]

    clock.advance(days=30)
    assert due(learned)["q110"] > "2027-01-04"


def test_pages_of_due_reviews_hold_what_an_exam_makes_due(learned: Front, engine: Engine) -> None:
    exam(engine, "2027-01-04")
    first = learned.get("reviews", due_before="2100-01-01", limit=1).json()
    second = learned.get("reviews", due_before="2100-01-01", limit=1, cursor=first["next_cursor"]).json()
    assert [page["items"][0]["pub_id"] for page in (first, second)] == ["q110", "q120"]
    assert second["next_cursor"] is None


def test_a_question_is_withdrawn_when_its_time_has_come(front: Front, engine: Engine, clock: Clock) -> None:
    front.sit(("q110", WRONG))
    load(engine, {"questions": [question(110, retired_at="2026-11-22T00:00:00Z")]})
    assert set(asked(front)) == {"q110", "q111"}
    assert "q110" in due(front)
    assert front.get("wrong-notes").json()["items"][0]["retired"] is False
    assert front.get(f"topics/{TOPIC}/weak-areas").json()["items"]

    clock.advance(days=2)
    assert set(asked(front)) == {"q111"}
    assert due(front) == {}
    assert front.get("wrong-notes").json()["items"][0]["retired"] is True
    assert front.get(f"topics/{TOPIC}/weak-areas").json()["items"] == []


def test_due_asks_the_longest_due_first_and_then_new_ones_by_what_exams_ask(
    front: Front, engine: Engine, clock: Clock
) -> None:
    often = {112: 0.9, 113: 0.1, 114: 0.5}
    load(engine, {"questions": [question(n, exam_frequency=often.get(n)) for n in range(110, 117)]})
    front.sit(("q111", WRONG))
    clock.advance(days=1)
    front.sit(("q110", WRONG))
    front.sit(("q116", RIGHT))
    clock.advance(days=1)

    order = asked(front, quiz_mode="due")

    assert order[:3] == ["q111", "q110", "q112"]
    assert set(order[3:5]) == {"q114", "q115"}  # what is unknown counts as the mean, 0.5
    assert order[5:] == ["q113"]
    assert asked(front, quiz_mode="due", new_per_session=1) == ["q111", "q110", "q112"]
    assert asked(front, quiz_mode="due", new_per_session=0) == ["q111", "q110"]


def test_due_asks_new_questions_after_due_ones_while_an_exam_lies_ahead(
    front: Front, engine: Engine, clock: Clock
) -> None:
    """A new question once took the exam's date for its due date: it was asked as a due one, or not at all."""
    front.sit(("q110", WRONG))
    clock.advance(days=1)
    for days in (0, 30):
        exam(engine, str(clock.now.date() + timedelta(days=days)))
        assert asked(front, quiz_mode="due") == ["q110", "q111"]
        assert asked(front, quiz_mode="due", new_per_session=0) == ["q110"]


def test_focus_asks_again_what_would_be_missed_now(front: Front, engine: Engine, clock: Clock) -> None:
    """What exams ask most is known now; it comes back as it fades."""
    load(engine, {"questions": [question(110, exam_frequency=0.9), question(111, exam_frequency=0.6)]})
    front.sit(("q110", RIGHT), ("q111", RIGHT))
    front.sit(("q111", WRONG))
    clock.advance(days=1)
    assert asked(front, quiz_mode="frequent_focus")[0] == "q111"
    clock.advance(days=400)
    assert asked(front, quiz_mode="frequent_focus")[0] == "q110"
