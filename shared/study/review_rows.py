"""Attempts as rows: the log that progress is folded from, as the reviews that the scheduler sees."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from fsrs import Rating
from sqlalchemy import Connection, text

from shared.statement import run
from shared.study.outcome import Outcome
from shared.study.progress import Review

_OF_SESSIONS = text("""
    SELECT study_quiz_session_id, study_question_id, answered_at, rating, outcome
    FROM study_question_attempts
    WHERE study_quiz_session_id = ANY(CAST(:session_ids AS bigint[])) AND counted ORDER BY ordinal
""")

_HISTORY = text("""
    SELECT a.study_question_id, a.answered_at, a.rating, a.outcome
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE a.study_question_id = ANY(CAST(:question_ids AS bigint[])) AND a.counted
        AND s.user_id = :user_id AND s.id <> ALL(CAST(:session_ids AS bigint[]))
        AND s.status <> 'in_progress' AND s.voided_at IS NULL
""")

_OF_LEARNER = text("""
    SELECT a.study_question_id, a.answered_at, a.rating, a.outcome
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE s.user_id = :user_id AND a.counted AND s.status <> 'in_progress' AND s.voided_at IS NULL
""")


def session_reviews(connection: Connection, session_ids: Sequence[int]) -> list[list[Review]]:
    """Load the counted attempts of each session, in the order in which they were given."""
    reviews: dict[int, list[Review]] = {each: [] for each in session_ids}
    for session, *row in run(connection, _OF_SESSIONS, {"session_ids": session_ids}):
        reviews[session].append(_review(*row))
    return list(reviews.values())


def other_reviews(
    connection: Connection, user_id: int, session_ids: Sequence[int], question_ids: Iterable[int]
) -> dict[int, list[Review]]:
    """Load what the learner's other finalized sessions know of some questions."""
    ids = list(question_ids)
    if not ids:
        return {}
    bound = {"user_id": user_id, "session_ids": session_ids, "question_ids": ids}
    found = _by_question(run(connection, _HISTORY, bound))
    return {question: found.get(question, []) for question in ids}


def learner_reviews(connection: Connection, user_id: int) -> dict[int, list[Review]]:
    """Load everything that a learner's progress is folded from."""
    return _by_question(connection.execute(_OF_LEARNER, {"user_id": user_id}))


def _by_question(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[Review]]:
    reviews = defaultdict(list)
    for question, *review in rows:
        reviews[question].append(_review(question, *review))
    return dict(reviews)


def _review(question: int, answered_at: datetime, rating: int, outcome: str) -> Review:
    return Review(question, answered_at, Rating(rating), Outcome(outcome))
