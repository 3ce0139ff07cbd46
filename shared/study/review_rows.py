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
        reviews[question].append(as_review(question, *review))
    return dict(reviews)


def as_review(question: int, answered_at: datetime, rating: int, outcome: str) -> Review:
    """Read the columns of an attempt."""
    return Review(question, answered_at, Rating(rating), Outcome(outcome))
