"""Live sessions that nobody answers any more are abandoned; what was answered counts."""

from datetime import datetime, timedelta
from threading import Thread

from sqlalchemy import Engine, text, update

from shared.live.sessions import abandon_idle
from shared.models import StudyQuestionProgress, StudyQuizSession
from shared.study.store import lock_learner
from tests.clients import OTHER_TOPIC, Clock, Front, started
from tests.factories import ANN, BEN, DEFAULT_ZONE, WRONG, reviews, rows

DAY = timedelta(days=1)
KEYS = ("user_id", "study_question_id")


def sweep(engine: Engine, clock: Clock, **limit: int) -> int:
    with engine.begin() as connection:
        return abandon_idle(connection, now=clock.now, idle=DAY, default_zone=DEFAULT_ZONE, **limit)


def test_a_session_without_an_answer_for_a_day_is_abandoned(
    front: Front, engine: Engine, clock: Clock
) -> None:
    session = started(front.start())
    clock.advance(hours=23)
    front.answer(session, "q110", WRONG)
    clock.advance(hours=24)
    assert sweep(engine, clock) == 0

    clock.advance(seconds=1)
    assert sweep(engine, clock) == 1

    closed = front.read(session)
    assert (closed["status"], closed["snapshot"]["wrong_count"]) == ("abandoned", 1)
    assert datetime.fromisoformat(closed["finished_at"]) == clock.now
    assert reviews(engine) == {110: 1}
    assert sweep(engine, clock) == 0
    assert front.start().status_code == 201


def test_the_same_answers_leave_the_same_progress_as_when_they_are_abandoned_by_hand(
    front: Front, engine: Engine, clock: Clock
) -> None:
    front.sit(("q110", WRONG), ("q111", None))
    idle = Front(front.web, BEN)
    session = started(idle.start(21))
    for pub_id, selected in (("q210", WRONG), ("q211", None)):
        idle.answer(session, pub_id, selected)
    clock.advance(days=2)
    assert sweep(engine, clock) == 1
    kept = [
        {name: value for name, value in row.items() if name not in {*KEYS, "updated_at", "changed_xid"}}
        for row in rows(engine, StudyQuestionProgress)
    ]
    assert kept[:2] == kept[2:]


def test_only_live_sessions_in_progress_are_closed_and_no_more_than_asked_for(
    front: Front, engine: Engine, clock: Clock
) -> None:
    front.sit(("q110", WRONG))
    started(front.start())
    started(front.start(OTHER_TOPIC))
    clock.advance(days=2)
    assert [sweep(engine, clock, limit=1) for _ in range(3)] == [1, 1, 0]
    assert sorted(row["status"] for row in rows(engine, StudyQuizSession)) == [
        "abandoned",
        "abandoned",
        "done",
    ]


def test_a_locked_learner_is_skipped_until_the_next_time(front: Front, engine: Engine, clock: Clock) -> None:
    """An answer that is being recorded goes first, and keeps its session open."""
    session = started(front.start())
    clock.advance(days=2)
    with engine.begin() as connection:
        lock_learner(connection, ANN)
        found: list[int] = []
        thread = Thread(target=lambda: found.append(sweep(engine, clock)))
        thread.start()
        thread.join(20)
        assert found == [0]
    front.answer(session, "q110")
    assert sweep(engine, clock) == 0
    with engine.begin() as connection:
        connection.execute(update(StudyQuizSession).values(created_at=clock.now - 9 * DAY))
    assert sweep(engine, clock) == 0


def test_I12_a_session_that_cannot_be_closed_holds_up_no_other(
    front: Front, engine: Engine, clock: Clock
) -> None:
    broken = started(front.start())
    front.answer(broken, "q110")
    started(front.start(OTHER_TOPIC))
    started(Front(front.web, BEN).start(21))
    with engine.begin() as connection:
        connection.execute(
            text(
                "ALTER TABLE study_quiz_sessions ADD CHECK"
                f" (id <> {broken} OR status <> 'abandoned') NOT VALID"
            )
        )
    clock.advance(days=2)
    assert sum(sweep(engine, clock, limit=1) for _ in range(40)) == 2
    assert sweep(engine, clock) == 0
    assert [row["status"] for row in rows(engine, StudyQuizSession)] == [
        "in_progress",
        "abandoned",
        "abandoned",
    ]
    assert reviews(engine) == {}
