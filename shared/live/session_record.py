"""Look up and lock a learner's quiz session."""

from typing import Any

from sqlalchemy import Connection, Row, text

from shared.errors import UnknownSessionError

_LOCK = text("""
    SELECT id, status, question_ids FROM study_quiz_sessions
    WHERE id = :session_id AND user_id = :user_id FOR NO KEY UPDATE
""")


def lock_session(connection: Connection, user_id: int, session_id: int) -> Row[Any]:
    """Lock a session and return its `id`, `status` and `question_ids`; the learner is locked already."""
    row = connection.execute(_LOCK, {"user_id": user_id, "session_id": session_id}).one_or_none()
    if row is None:
        raise unknown_session(session_id)
    return row


def unknown_session(session_id: int) -> UnknownSessionError:
    """Say that the learner has no such session; what others have is unknown too."""
    return UnknownSessionError(f"the learner has no quiz session {session_id}")
