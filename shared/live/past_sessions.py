"""The sessions that a learner has closed, live or uploaded, each with its snapshot."""

from typing import Any

from sqlalchemy import Connection, text

from shared.live.learner import require_learner
from shared.live.places import SessionPlace
from shared.live.session_view import COUNTS, with_snapshot

_PAST = text(f"""
    SELECT id AS session_id, study_topic_id, status, source, quiz_mode, created_at, finished_at, voided_at,
        {", ".join(COUNTS)}
    FROM study_quiz_sessions
    WHERE user_id = :user_id AND status <> 'in_progress' AND id < :session_id
    ORDER BY id DESC LIMIT :limit
""")  # noqa: S608  # made of the constants above


def past_sessions(
    connection: Connection, user_id: int, *, after: SessionPlace, limit: int
) -> list[tuple[SessionPlace, dict[str, Any]]]:
    """List closed sessions, the last recorded first, each with its place."""
    require_learner(connection, user_id)
    rows = connection.execute(_PAST, after._asdict() | {"user_id": user_id, "limit": limit})
    return [(SessionPlace(row["session_id"]), with_snapshot(dict(row))) for row in rows.mappings()]
