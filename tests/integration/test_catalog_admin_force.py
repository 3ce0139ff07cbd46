"""A forced load: attempts are graded by the new right choice, and progress is what it would have been."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.errors import OvertakenError
from shared.models import StudyQuestionAttempt, StudyQuestionProgress, StudyQuizSession
from shared.study.finalize import verify
from tests.factories import (
    ANN,
    BEN,
    DEFAULT_ZONE,
    NO_CHOICE,
    RIGHT,
    WRONG,
    answer,
    deliver,
    ingest,
    load,
    progress,
    question,
    rows,
    upload,
    work_off,
)
from tests.race import overlap

AT, NEXT_DAY = "2026-11-20T03:30:00Z", "2026-11-21T09:00:00Z"
OTHER_CHOICE = {"questions": [question(110, correct_choice=WRONG)]}
OTHER_ZONE = {"users": [{"id": ANN, "time_zone": "Asia/Seoul"}]}
MOVED = {"questions": [question(110, user_id=BEN, study_topic_id=21)]}


pytestmark = pytest.mark.usefixtures("catalog")


def sessions() -> list[dict[str, Any]]:
    return [
        upload(answer("q110", AT), answer("twin110", AT, WRONG), answer("q111", AT)),
        upload(answer("q110", NEXT_DAY, WRONG), answer("q120", NEXT_DAY, WRONG)),
        upload(answer("q110", "2026-11-24T09:00:00Z", RIGHT, unsure=True)),
        upload(answer("q110", "2026-11-28T09:00:00Z", NO_CHOICE)),
    ]


def consistent(engine: Engine) -> bool:
    return not any(checked.differing for checked in verify(engine, default_zone=DEFAULT_ZONE))


def replayed_from_the_start(engine: Engine, sent: list[dict[str, Any]]) -> list[str]:
    """Replay with the catalog that is loaded now."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE uploads, study_quiz_sessions, study_question_progress CASCADE"))
    for each in sent:
        ingest(engine, each)
    return progress(engine)


@pytest.mark.parametrize(("change", "regraded"), [(OTHER_CHOICE, [110]), (OTHER_ZONE, [])])
def test_progress_becomes_what_it_would_have_been(
    engine: Engine, change: dict[str, Any], regraded: list[int]
) -> None:
    sent = sessions()
    for each in sent:
        ingest(engine, each)
    before = progress(engine)
    assert load(engine, change, force=True).regraded == regraded
    assert progress(engine) != before
    assert progress(engine) == replayed_from_the_start(engine, sent)


def test_attempts_are_graded_again_and_history_stays(engine: Engine) -> None:
    for each in sessions():
        ingest(engine, each)
    history = rows(engine, StudyQuizSession)
    load(engine, OTHER_CHOICE, force=True)
    grades = [
        (row["outcome"], row["rating"], row["counted"])
        for row in rows(engine, StudyQuestionAttempt)
        if row["study_question_id"] == 110
    ]
    assert grades == [
        ("wrong", 1, True),
        ("correct", 3, False),
        ("correct", 3, True),
        ("unsure", 1, True),
        ("unsure", 1, True),
    ]
    assert rows(engine, StudyQuizSession) == history


def test_a_moved_question_leaves_its_past_with_its_former_owner(engine: Engine) -> None:
    ingest(engine, sessions()[0])
    before = progress(engine)
    load(engine, MOVED, force=True)
    assert progress(engine) == before
    moved = upload(answer("q110", NEXT_DAY))
    ingest(engine, moved)
    assert [row["user_id"] for row in rows(engine, StudyQuizSession)] == [ANN, BEN]
    assert consistent(engine)


def test_its_new_owner_starts_from_nothing_in_the_same_time_zone_too(engine: Engine) -> None:
    load(engine, {"users": [{"id": BEN, "time_zone": DEFAULT_ZONE}]}, force=True)
    ingest(engine, sessions()[0])
    load(engine, MOVED, force=True)
    ingest(engine, upload(answer("q110", NEXT_DAY)))
    assert [row["reviews"] for row in rows(engine, StudyQuestionProgress) if row["user_id"] == BEN] == [1]
    assert consistent(engine)


def test_a_public_id_may_be_pointed_elsewhere(engine: Engine) -> None:
    load(engine, {"questions": [question(111, "q110")]}, force=True)
    ingest(engine, upload(answer("q110", AT)))
    assert [row["study_question_id"] for row in rows(engine, StudyQuestionAttempt)] == [111]


@pytest.mark.parametrize("change", [OTHER_CHOICE, OTHER_ZONE])
def test_a_load_and_a_replay_that_meet_are_one_after_the_other(
    engine: Engine, change: dict[str, Any]
) -> None:
    first, second, *_ = sessions()
    for each in (first, second):
        deliver(engine, each)

    def forced(other: Engine) -> None:
        load(other, change, force=True)

    for meeting in (
        overlap(engine, lambda e: work_off(e, first), forced),
        overlap(engine, forced, lambda e: work_off(e, second)),
    ):
        for worker in meeting:
            worker.result()
    assert consistent(engine)
    assert progress(engine) == replayed_from_the_start(engine, [first, second])


def test_an_owner_that_changes_while_a_replay_waits_lets_it_try_again(engine: Engine) -> None:
    sent = upload(answer("q110", AT))
    deliver(engine, sent)
    _, late = overlap(engine, lambda e: load(e, MOVED, force=True), lambda e: work_off(e, sent))
    with pytest.raises(OvertakenError):
        late.result()
    assert rows(engine, StudyQuizSession) == []
    work_off(engine, sent)
    assert [row["user_id"] for row in rows(engine, StudyQuizSession)] == [BEN]
