"""A learner's progress, question by question, as it is shown and compared."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, text

_LIST = text("""
    SELECT i.pub_id, p.stability, p.difficulty, p.due, p.last_reviewed_at, p.reviews, p.misses,
        p.miss_streak, p.correct_streak, p.wrong_note
    FROM study_question_progress p
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = p.study_question_id) i ON TRUE
    WHERE p.user_id = :user_id
    ORDER BY i.pub_id COLLATE "C", p.study_question_id
""")


def list_progress(connection: Connection, user_id: int) -> Iterator[dict[str, Any]]:
    """Yield one JSON value a question, sorted by public id: times in UTC, `due` a date."""
    for row in connection.execute(_LIST, {"user_id": user_id}).mappings():
        times = {"due": row["due"].isoformat(), "last_reviewed_at": row["last_reviewed_at"].isoformat()}
        yield dict(row) | times
