"""A live session is closed once, by the finalize of all sessions."""

from typing import Any

from sqlalchemy import Engine

from shared.models import StudyQuestionAttempt, StudyQuestionProgress, StudyQuizSession
from tests.clients import Clock, Front, refusal, rfc3339, started
from tests.factories import RIGHT, WRONG, reviews, rows, sound


def only_session(engine: Engine) -> dict[str, Any]:
    (row,) = rows(engine, StudyQuizSession)
    return row


def test_finalize_leaves_counts_progress_and_due_days_once(
    front: Front, engine: Engine, clock: Clock
) -> None:
    session = started(front.start())
    front.answer(session, "q110", WRONG)
    end = clock.advance(minutes=5)
    assert rows(engine, StudyQuestionProgress) == []  # an answer alone moves nothing

    closed = front.finalize(session)

    assert closed.status_code == 200
    assert closed.json() == {
        "session_id": session,
        "status": "done",
        "finished_at": rfc3339(end),
        "snapshot": {
            "correct_count": 0,
            "wrong_count": 1,
            "unsure_count": 0,
            "newly_correct_count": 0,
            "recovered_count": 0,
            "relapsed_count": 0,
            "chronic_remaining_count": 0,
        },
        "questions": [{"pub_id": "q110", "due": "2026-11-21"}],
    }
    row = only_session(engine)
    assert (row["status"], row["finished_at"], row["cursor"]) == ("done", end, front.read(session)["cursor"])
    assert (row["client_session_uuid"], row["finalized_at"], row["source"]) == (None, None, "live")
    clock.advance(days=1)
    assert front.finalize(session).content == closed.content
    assert reviews(engine) == {110: 1}
    assert sound(engine)


def test_what_was_not_answered_leaves_nothing(front: Front, engine: Engine) -> None:
    closed = front.finalize(started(front.start())).json()
    assert (closed["status"], closed["questions"]) == ("done", [])
    assert set(closed["snapshot"].values()) == {0}
    assert rows(engine, StudyQuestionAttempt) == rows(engine, StudyQuestionProgress) == []


def test_an_abandoned_session_counts_what_was_answered_and_stays_abandoned(
    front: Front, engine: Engine
) -> None:
    session = started(front.start())
    front.answer(session, "q110")
    left = front.abandon(session)
    assert (left.json()["status"], left.json()["snapshot"]["newly_correct_count"]) == ("abandoned", 1)
    assert front.abandon(session).content == left.content
    assert refusal(front.finalize(session)) == (409, "session-closed")
    assert refusal(front.answer(session, "q111")) == (409, "session-closed")
    assert only_session(engine)["status"] == front.read(session)["status"] == "abandoned"
    assert reviews(engine) == {110: 1}
    assert front.start().status_code == 201


def test_a_done_session_takes_no_answer_and_cannot_be_abandoned(front: Front, engine: Engine) -> None:
    session = front.sit(("q110", RIGHT))["session_id"]
    before = rows(engine, StudyQuestionAttempt)
    assert refusal(front.answer(session, "q111")) == (409, "session-closed")
    assert refusal(front.answer(session, "q110")) == (409, "session-closed")
    assert refusal(front.abandon(session)) == (409, "session-closed")
    assert rows(engine, StudyQuestionAttempt) == before
    assert only_session(engine)["status"] == "done"
