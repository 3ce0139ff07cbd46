"""Live requests at the same time as others or as uploads of the topic: none is doubled, lost or blocked."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.errors import AlreadyAnsweredError
from shared.live.forms import SessionStart, Submission
from shared.live.sessions import Started, close, start, submit
from shared.models import StudyQuestionAttempt, StudyQuizSession
from shared.study import store
from tests.clients import TOPIC, Clock, Front, started
from tests.factories import (
    ANN,
    DEFAULT_ZONE,
    RIGHT,
    WRONG,
    answer,
    deliver,
    load,
    reviews,
    rows,
    sound,
    upload,
    work_off,
)
from tests.race import at_once, overlap

Work = Callable[[Engine], Any]


def starting(now: datetime) -> Callable[[Engine], Started]:
    def work(engine: Engine) -> Started:
        with engine.begin() as connection:
            request = SessionStart(study_topic_id=TOPIC)
            return start(connection, ANN, request, rng=Random(1), now=now, default_zone=DEFAULT_ZONE)

    return work


def submitting(session: int, now: datetime, selected: int | None = RIGHT) -> Work:
    def work(engine: Engine) -> dict[str, Any]:
        given = Submission(pub_id="q110", selected=selected, unsure=False)
        with engine.begin() as connection:
            return submit(connection, ANN, session, given, now=now, default_zone=DEFAULT_ZONE)

    return work


def finalizing(session: int, now: datetime) -> Work:
    def work(engine: Engine) -> dict[str, Any]:
        with engine.begin() as connection:
            return close(connection, ANN, session, status="done", now=now, default_zone=DEFAULT_ZONE)

    return work


@pytest.mark.parametrize("locked", [True, False])
def test_two_starts_make_one_session_even_if_only_the_index_guards_it(
    engine: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, locked: bool
) -> None:
    load(engine)
    if not locked:
        monkeypatch.setattr(store, "lock_learner", lambda *_: None)
    early, late = overlap(engine, starting(clock.now), starting(clock.now))
    first, second = early.result(), late.result()
    assert (first.new, second.new) == (True, False)
    assert first.session_id == second.session_id
    assert len(rows(engine, StudyQuizSession)) == 1


def test_many_starts_at_once_are_answered_with_one_session(front: Front, engine: Engine) -> None:
    answers = at_once(8, lambda _: front.start())
    assert sorted(each.status_code for each in answers) == [200] * 7 + [201]
    assert len({started(each) for each in answers}) == 1
    assert len(rows(engine, StudyQuizSession)) == 1


def test_the_same_answer_twice_at_once_is_one_attempt(engine: Engine, clock: Clock) -> None:
    load(engine)
    session = starting(clock.now)(engine).session_id
    later = clock.now + timedelta(seconds=1)
    early, late = overlap(engine, submitting(session, clock.now), submitting(session, later))
    assert early.result() == late.result()
    (row,) = rows(engine, StudyQuestionAttempt)
    assert row["answered_at"] == clock.now


def test_two_answers_at_once_leave_the_first(engine: Engine, clock: Clock) -> None:
    load(engine)
    session = starting(clock.now)(engine).session_id
    early, late = overlap(
        engine, submitting(session, clock.now), submitting(session, clock.now, selected=WRONG)
    )
    assert early.result()["outcome"] == "correct"
    assert isinstance(late.exception(), AlreadyAnsweredError)
    assert len(rows(engine, StudyQuestionAttempt)) == 1


def test_finalize_twice_at_once_moves_progress_once(engine: Engine, clock: Clock) -> None:
    load(engine)
    session = starting(clock.now)(engine).session_id
    submitting(session, clock.now)(engine)
    later = clock.now + timedelta(seconds=1)
    early, late = overlap(engine, finalizing(session, clock.now), finalizing(session, later))
    assert early.result() == late.result()
    assert early.result()["finished_at"] == clock.now
    assert reviews(engine) == {110: 1}
    assert sound(engine)


def test_an_answer_and_a_finalize_at_once_count_the_answer_or_refuse_it(front: Front, engine: Engine) -> None:
    for _ in range(10):
        session = started(front.start())
        closed, answered = at_once(
            2, lambda n, session=session: front.answer(session, "q110") if n else front.finalize(session)
        )
        counted = closed.json()["snapshot"]["correct_count"]
        assert (answered.status_code, counted) in {(200, 1), (409, 0)}
    assert sound(engine)


def test_a_session_in_progress_and_uploads_of_its_topic_leave_each_other_alone(
    front: Front, engine: Engine, clock: Clock
) -> None:
    session = started(front.start())
    front.answer(session, "q110", WRONG)
    before = front.read(session)
    hour = timedelta(hours=1)
    for at, selected in [(clock.now - hour, WRONG), (clock.now + hour, RIGHT)]:
        sent = upload(answer("q110", at.isoformat(), selected), answer("q111", at.isoformat()))
        deliver(engine, sent)
        work_off(engine, sent)
    assert front.read(session) == before
    assert reviews(engine) == {110: 2, 111: 2}  # what is in progress does not count yet
    assert sound(engine)

    clock.advance(hours=2)
    snapshot = front.finalize(session).json()["snapshot"]

    # Its answer came between those of the uploads: wrong after wrong, though the last was right.
    assert (snapshot["wrong_count"], snapshot["relapsed_count"]) == (1, 0)
    assert reviews(engine) == {110: 3, 111: 2}
    assert sound(engine)
    assert [each["status"] for each in rows(engine, StudyQuizSession)] == ["done"] * 3


def test_uploads_and_live_answers_at_once_end_in_the_right_fold(
    front: Front, engine: Engine, clock: Clock
) -> None:
    sent = [
        upload(answer("q110", f"2026-11-{n:02}T09:00:00Z"), answer("q111", f"2026-11-{n:02}T09:00:00Z"))
        for n in range(1, 31)
    ]
    for each in sent:
        deliver(engine, each)

    def work(number: int) -> int:
        if number:
            for each in sent[number - 1 :: 3]:
                work_off(engine, each)
            return 0
        for _ in range(10):
            front.sit(("q110", WRONG), ("q111", RIGHT))
            clock.advance(hours=7)
        return 0

    at_once(4, work)
    assert reviews(engine) == {110: 40, 111: 40}
    assert sound(engine)


def test_a_locked_learner_is_503_in_time_and_blocks_no_other_route(front: Front, engine: Engine) -> None:
    session = started(front.start())
    with engine.begin() as connection:
        connection.execute(text("SELECT id FROM users WHERE id = :id FOR UPDATE"), {"id": ANN})
        assert front.answer(session, "q110").status_code == 503
        assert front.get("sessions").status_code == 200
        assert Front(front.web, 2).start(21).status_code == 201
    assert front.answer(session, "q110").status_code == 200
