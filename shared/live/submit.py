"""Answer a question of a session: once, graded by the one grader, at the time of the server's clock."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.catalog import resolve
from shared.live.errors import AlreadyAnsweredError, NoSuchChoiceError, NotAskedError, SessionClosedError
from shared.live.forms import Submission
from shared.live.learner import enter
from shared.live.session_record import lock_session
from shared.plan import PlannedAttempt, Question
from shared.study.grading import grade
from shared.viewer_sessions import insert_attempts

_GIVEN = text("""
    SELECT ordinal, selected, unsure, outcome, answered_at FROM study_question_attempts
    WHERE study_quiz_session_id = :session_id AND study_question_id = :question_id AND counted
""")

# The place of the first question without an answer: answers may come in any order.
_ADVANCE = text("""
    UPDATE study_quiz_sessions SET cursor = coalesce(
        (SELECT min(place) FROM generate_series(0, jsonb_array_length(question_ids) - 1) AS place
         WHERE place NOT IN (SELECT ordinal FROM study_question_attempts
            WHERE study_quiz_session_id = :session_id)),
        jsonb_array_length(question_ids))
    WHERE id = :session_id
""")


def submit(
    connection: Connection, user_id: int, session_id: int, answer: Submission, *, now: datetime
) -> dict[str, Any]:
    """Record an answer and return it with its outcome; the same answer again changes nothing."""
    enter(connection, user_id)
    session = lock_session(connection, user_id, session_id)
    if session.status != "in_progress":
        raise SessionClosedError(f"the session is {session.status}")
    question = _asked(connection, session.question_ids, answer)
    given = _given(connection, session_id, question)
    if given is None:
        _record(connection, session_id, _attempt(session.question_ids, question, answer, now))
        given = _given(connection, session_id, question)
    elif (given["selected"], given["unsure"]) != (answer.selected, answer.unsure):
        raise AlreadyAnsweredError("an answer stands")
    return {"pub_id": answer.pub_id} | (given or {})


def _asked(connection: Connection, question_ids: Sequence[int], answer: Submission) -> Question:
    question = resolve(connection, [answer.pub_id]).get(answer.pub_id)
    if question is None or question.id not in question_ids:
        raise NotAskedError("The session does not ask this question")
    if answer.selected is not None and answer.selected >= question.choice_count:
        raise NoSuchChoiceError(f"Input should be less than {question.choice_count}")
    return question


def _given(connection: Connection, session_id: int, question: Question) -> dict[str, Any] | None:
    bound = {"session_id": session_id, "question_id": question.id}
    row = connection.execute(_GIVEN, bound).mappings().one_or_none()
    return None if row is None else dict(row)


def _attempt(
    question_ids: Sequence[int], question: Question, answer: Submission, now: datetime
) -> PlannedAttempt:
    graded = grade(answer.selected, unsure=answer.unsure, correct_choice=question.correct_choice)
    place = question_ids.index(question.id)
    return PlannedAttempt(place, question, answer.selected, answer.unsure, *graded, now, now)


def _record(connection: Connection, session_id: int, attempt: PlannedAttempt) -> None:
    insert_attempts(connection, {session_id: [attempt]}, {attempt.ordinal})
    connection.execute(_ADVANCE, {"session_id": session_id})
