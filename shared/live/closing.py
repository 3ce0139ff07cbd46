"""Close a session, by the same finalize as a replay; to do so again changes nothing."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.live.errors import SessionClosedError
from shared.live.learner import enter
from shared.live.session_record import lock_session
from shared.live.session_view import read_closed
from shared.study.finalize import finalize_session
from shared.study.store import Learner, learner_zone

_ABANDON = text("UPDATE study_quiz_sessions SET status = 'abandoned' WHERE id = :session_id")


def finalize(
    connection: Connection, user_id: int, session_id: int, *, now: datetime, default_zone: str
) -> dict[str, Any]:
    """Close a session as done; a question without an answer leaves nothing."""
    if _is_open(connection, user_id, session_id, end="done"):
        learner = Learner(user_id, learner_zone(connection, user_id, default_zone))
        finalize_session(connection, learner, session_id, now=now)
    return read_closed(connection, user_id, session_id)


def abandon(
    connection: Connection, user_id: int, session_id: int, *, now: datetime, default_zone: str
) -> dict[str, Any]:
    """Close a session as abandoned; what was answered counts all the same."""
    if _is_open(connection, user_id, session_id, end="abandoned"):
        connection.execute(_ABANDON, {"session_id": session_id})
        learner = Learner(user_id, learner_zone(connection, user_id, default_zone))
        finalize_session(connection, learner, session_id, now=now)
    return read_closed(connection, user_id, session_id)


def _is_open(connection: Connection, user_id: int, session_id: int, *, end: str) -> bool:
    """Lock a session and tell whether it is in progress; raise SessionClosedError if it has another end."""
    enter(connection, user_id)
    status: str = lock_session(connection, user_id, session_id).status
    if status not in {"in_progress", end}:
        raise SessionClosedError(f"the session is {status}")
    return status == "in_progress"
