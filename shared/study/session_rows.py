"""Quiz sessions as rows, as far as finalize knows them."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.study.decision import Counts

_CLOSE = text("""
    UPDATE study_quiz_sessions SET
        status = CASE status WHEN 'in_progress' THEN 'done' ELSE status END,
        finished_at = coalesce(finished_at, :now),
        correct_count = :correct, wrong_count = :wrong, unsure_count = :unsure,
        newly_correct_count = :newly_correct, recovered_count = :recovered, relapsed_count = :relapsed,
        chronic_remaining_count = :chronic
    WHERE id = :session_id
    RETURNING id AS session_id, study_topic_id, correct_count, wrong_count, unsure_count, newly_correct_count,
        recovered_count, relapsed_count, chronic_remaining_count
""")

_OWNER = text("""
    SELECT s.user_id, coalesce(u.time_zone, :default_zone) AS time_zone
    FROM study_quiz_sessions s JOIN users u ON u.id = s.user_id WHERE s.id = :session_id
""")


def owner(connection: Connection, session_id: int, default_zone: str) -> Row[Any]:
    """Return the `user_id` and `time_zone` of a session's learner."""
    return connection.execute(_OWNER, {"session_id": session_id, "default_zone": default_zone}).one()


def close_session(
    connection: Connection, session_id: int, counts: Counts, *, now: datetime
) -> dict[str, Any]:
    """Write a session's counts and close it, unless it was abandoned; return the snapshot."""
    bound = {"session_id": session_id, "now": now} | asdict(counts)
    return dict(connection.execute(_CLOSE, bound).mappings().one())
