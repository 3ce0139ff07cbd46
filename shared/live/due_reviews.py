"""The questions that a learner should review."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from shared.live.learner import require_learner
from shared.live.places import ReviewPlace
from shared.study.scheduling import study_day
from shared.study.store import learner_zone

_DUE = text("""
    SELECT q.id, i.pub_id, q.study_topic_id, q.subject, p.due, p.last_reviewed_at, p.reviews, p.misses
    FROM study_question_progress p
    JOIN study_questions q ON q.id = p.study_question_id
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = q.id HAVING count(*) > 0) i ON TRUE
    WHERE p.user_id = :user_id AND p.due < :before AND (p.due, q.id) > (:due, :question_id)
        AND q.retired_at IS NULL
    ORDER BY p.due, q.id LIMIT :limit
""")


def due_reviews(
    connection: Connection, user_id: int, *, before: date, after: ReviewPlace, limit: int
) -> list[tuple[ReviewPlace, dict[str, Any]]]:
    """List the questions due before a study day, longest due first, each with its place."""
    require_learner(connection, user_id)
    bound = after._asdict() | {"user_id": user_id, "before": before, "limit": limit}
    return [
        (ReviewPlace(row["due"], row["id"]), {name: value for name, value in row.items() if name != "id"})
        for row in connection.execute(_DUE, bound).mappings()
    ]


def tomorrow(connection: Connection, user_id: int, *, now: datetime, default_zone: str) -> date:
    """Return the study day after the learner's present one: what is due today is due before it."""
    require_learner(connection, user_id)
    return study_day(now, learner_zone(connection, user_id, default_zone)) + timedelta(days=1)
