"""A forced load: attempts are graded by the new right choice, and progress is what it would have been."""

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.errors import OvertakenError
from shared.live.forms import Submission
from shared.live.sessions import submit
from shared.models import StudyQuestionAttempt, StudyQuestionProgress, StudyQuizSession, Upload
from shared.study.store import COUNTS
from tests.factories import (
    ANN,
    BEN,
    DEFAULT_ZONE,
    NO_CHOICE,
    RIGHT,
    WRONG,
    answer,
    begin_session,
    deliver,
    ingest,
    load,
    progress,
    question,
    rows,
    sound,
    standing,
    upload,
    work_off,
)
from tests.race import overlap

PATTERNS = COUNTS[3:]
AT, NEXT_DAY = "2026-11-20T03:30:00Z", "2026-11-21T09:00:00Z"
OTHER_KEY = {"questions": [question(110, correct_choice=WRONG)]}
OTHER_TEXTS = {"questions": [question(110, choices=["a", "B", "c", "d"])]}
MOVED = {"questions": [question(110, user_id=BEN, study_topic_id=21)]}


pytestmark = pytest.mark.usefixtures("catalog")


def sessions() -> list[dict[str, Any]]:
    return [
        upload(answer("q110", AT), answer("second110", AT, WRONG), answer("q111", AT)),
        upload(answer("q110", NEXT_DAY, WRONG), answer("q120", NEXT_DAY, WRONG)),
        upload(answer("q110", "2026-11-24T09:00:00Z", RIGHT, unsure=True)),
        upload(answer("q110", "2026-11-28T09:00:00Z", NO_CHOICE)),
    ]


def replayed_from_the_start(engine: Engine, sent: list[dict[str, Any]]) -> list[str]:
    """Replay with the catalog that is loaded now."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE uploads, study_quiz_sessions, study_question_progress CASCADE"))
    for each in sent:
        ingest(engine, each)
    return progress(engine)


def test_progress_becomes_what_it_would_have_been(engine: Engine) -> None:
    sent = sessions()
    for each in sent:
        ingest(engine, each)
    before = progress(engine)
    (change,) = load(engine, OTHER_KEY, force=True)
    assert change == ("q110", ("key",), 4, 1, 0)
    assert progress(engine) != before
    assert progress(engine) == replayed_from_the_start(engine, sent)


def test_corrected_texts_grade_nothing_again(engine: Engine) -> None:
    for each in sessions():
        ingest(engine, each)
    kept = (StudyQuestionAttempt, StudyQuizSession, StudyQuestionProgress, Upload)
    before = [rows(engine, table) for table in kept]
    load(engine, OTHER_TEXTS, force=True)
    assert [rows(engine, table) for table in kept] == before


def test_every_answer_agrees_with_a_new_key(engine: Engine) -> None:
    sent = sessions()
    for each in sent:
        ingest(engine, each)
    patterns = [[row[name] for name in PATTERNS] for row in rows(engine, StudyQuizSession)]
    load(engine, OTHER_KEY, force=True)
    quizzes = {row["id"]: row for row in rows(engine, StudyQuizSession)}
    assert [[row[name] for name in PATTERNS] for row in quizzes.values()] == patterns  # history
    counted = [row for row in rows(engine, StudyQuestionAttempt) if row["counted"]]
    for number, quiz in quizzes.items():
        outcomes = [row["outcome"] for row in counted if row["study_quiz_session_id"] == number]
        for outcome in ("correct", "wrong", "unsure"):
            assert quiz[f"{outcome}_count"] == outcomes.count(outcome)
    (due,) = (row["due"] for row in rows(engine, StudyQuestionProgress) if row["study_question_id"] == 110)
    for each in sent:
        result = standing(engine, each).result or {}
        for topic in result["topics"]:
            assert [topic[name] for name in COUNTS] == [quizzes[topic["session_id"]][name] for name in COUNTS]
        shown = {question["pub_id"]: question["due"] for question in result["questions"]}
        assert shown["q110"] == shown.get("second110", shown["q110"]) == due.isoformat()


def test_only_attempts_at_the_edition_are_graded_again(engine: Engine) -> None:
    for each in sessions():
        ingest(engine, each)
    load(engine, OTHER_KEY, force=True)
    grades = [
        (row["outcome"], row["rating"], row["counted"])
        for row in rows(engine, StudyQuestionAttempt)
        if row["study_question_id"] == 110
    ]
    assert grades == [
        ("wrong", 1, True),
        ("wrong", 1, False),  # under second110, whose key stays
        ("correct", 3, True),
        ("unsure", 1, True),
        ("unsure", 1, True),
    ]


def test_a_moved_question_leaves_its_past_with_its_former_owner(engine: Engine) -> None:
    ingest(engine, sessions()[0])
    before = progress(engine)
    load(engine, MOVED, force=True)
    assert progress(engine) == before
    moved = upload(answer("q110", NEXT_DAY))
    ingest(engine, moved)
    assert [row["user_id"] for row in rows(engine, StudyQuizSession)] == [ANN, BEN]
    assert sound(engine)


def test_its_new_owner_starts_from_nothing(engine: Engine) -> None:
    ingest(engine, sessions()[0])
    load(engine, MOVED, force=True)
    ingest(engine, upload(answer("q110", NEXT_DAY)))
    assert [row["reviews"] for row in rows(engine, StudyQuestionProgress) if row["user_id"] == BEN] == [1]
    assert sound(engine)


def test_another_time_zone_moves_no_past_date(engine: Engine) -> None:
    for each in sessions():
        ingest(engine, each)
    before = progress(engine)
    load(engine, {"users": [{"id": ANN, "time_zone": "Asia/Seoul"}]})
    assert progress(engine) == before
    assert sound(engine)


def test_a_load_and_a_replay_that_meet_are_one_after_the_other(engine: Engine) -> None:
    first, second, *_ = sessions()
    for each in (first, second):
        deliver(engine, each)

    def forced(other: Engine) -> None:
        load(other, OTHER_KEY, force=True)

    for meeting in (
        overlap(engine, lambda e: work_off(e, first), forced),
        overlap(engine, forced, lambda e: work_off(e, second)),
    ):
        for worker in meeting:
            worker.result()
    assert sound(engine)
    assert progress(engine) == replayed_from_the_start(engine, [first, second])


@pytest.mark.parametrize("moved", [False, True])
def test_a_new_key_grades_what_is_just_being_answered_live(engine: Engine, *, moved: bool) -> None:
    """Also if the question was moved to another learner since the session began."""
    begin_session(engine, ANN, 11, 110)
    (session,) = rows(engine, StudyQuizSession)
    place = {"user_id": BEN, "study_topic_id": 21} if moved else {}
    if moved:
        load(engine, MOVED, force=True)
    new_key = {"questions": [question(110, correct_choice=WRONG, **place)]}

    def answering(other: Engine) -> None:
        given = Submission(pub_id="q110", selected=RIGHT, unsure=False)
        now = datetime.fromisoformat(NEXT_DAY)
        with other.begin() as connection:
            submit(connection, ANN, session["id"], given, now=now, default_zone=DEFAULT_ZONE)

    answered, loaded = overlap(engine, answering, lambda e: load(e, new_key, force=True))
    answered.result()
    loaded.result()
    assert [row["outcome"] for row in rows(engine, StudyQuestionAttempt)] == ["wrong"]


def test_an_owner_that_changes_while_a_replay_waits_lets_it_try_again(engine: Engine) -> None:
    sent = upload(answer("q110", AT))
    deliver(engine, sent)
    _, late = overlap(engine, lambda e: load(e, MOVED, force=True), lambda e: work_off(e, sent))
    with pytest.raises(OvertakenError):
        late.result()
    assert rows(engine, StudyQuizSession) == []
    work_off(engine, sent)
    assert [row["user_id"] for row in rows(engine, StudyQuizSession)] == [BEN]
