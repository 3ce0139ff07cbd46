"""Verify compares progress with the log of attempts, and repairs it."""

from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, insert, update

from shared.models import StudyQuestionProgress, StudyQuizSession
from shared.study.finalize import Checked, verify
from tests.factories import (
    ANN,
    BEN,
    CHO,
    WRONG,
    ZONES,
    answer,
    ingest,
    load,
    progress,
    reviews,
    rows,
    upload,
)

AT = "2026-11-20T09:00:00Z"
SOUND = [Checked(learner, set()) for learner in ZONES]
Row = StudyQuestionProgress
CHANGES: list[dict[Any, Any]] = [
    {Row.stability: Row.stability * (1 + 1e-15)},
    {Row.difficulty: Row.difficulty + 0.5},
    {Row.due: Row.due + 1},
    {Row.last_answered_at: func.now()},
    {Row.reviews: Row.reviews + 1},
    {Row.corrects: 0, Row.correct_streak: 0, Row.correct_since: None},
    {Row.wrong_note: "open", Row.note_opened_at: Row.last_answered_at},
    {Row.scheduler: "another"},
]


@pytest.fixture(autouse=True)
def _progress(engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT), answer("q111", AT, WRONG)))
    ingest(engine, upload(answer("q210", AT), answer("q220", AT)))


def check(engine: Engine, *, repair: bool = False) -> list[Checked]:
    return list(verify(engine, repair=repair))


def tamper(engine: Engine, statement: Any) -> None:
    with engine.begin() as connection:
        connection.execute(statement)


def repairs(engine: Engine, question: int, sound: list[str]) -> bool:
    """Tell whether one question of Ann's is found, left alone, found again and repaired."""
    found = [Checked(ANN, {question}), *SOUND[1:]]
    looks = [check(engine), check(engine), check(engine, repair=True), check(engine)]
    return looks == [found, found, found, SOUND] and progress(engine) == sound


def test_what_was_replayed_is_sound(engine: Engine) -> None:
    assert check(engine) == check(engine, repair=True) == SOUND


def test_every_changed_value_is_found_and_mended(engine: Engine) -> None:
    sound = progress(engine)
    for change in CHANGES:
        tamper(engine, update(Row).where(Row.study_question_id == 110).values(change))
        assert repairs(engine, 110, sound), change


def test_a_missing_row_is_found_and_mended(engine: Engine) -> None:
    sound = progress(engine)
    tamper(engine, delete(Row).where(Row.study_question_id == 111))
    assert repairs(engine, 111, sound)


def test_a_superfluous_row_is_found_and_mended(engine: Engine) -> None:
    sound = progress(engine)
    tamper(engine, insert(Row).values(rows(engine, Row)[0] | {"study_question_id": 120}))
    assert repairs(engine, 120, sound)


def test_progress_that_a_voided_session_left_is_found_and_repaired(engine: Engine) -> None:
    voided = update(StudyQuizSession).where(StudyQuizSession.study_topic_id == 22)
    tamper(engine, voided.values(voided_at=func.now()))
    assert check(engine, repair=True) == [Checked(ANN, set()), Checked(BEN, {220}), Checked(CHO, set())]
    assert reviews(engine) == {110: 1, 111: 1, 210: 1}
