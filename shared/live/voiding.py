"""Take a session out of the learner's progress on behalf of the front end, and back in."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from shared.live.closing import abandon
from shared.live.learner import enter
from shared.live.session_record import lock_session
from shared.live.session_view import read_session
from shared.study.voiding import unvoid_sessions, void_sessions

REASON = "deleted in the front end"


def void(
    connection: Connection, user_id: int, session_id: int, *, now: datetime, default_zone: str
) -> dict[str, Any]:
    """Void a session, live or uploaded; one in progress is abandoned first, so that its topic is free."""
    enter(connection, user_id)
    if lock_session(connection, user_id, session_id).status == "in_progress":
        abandon(connection, user_id, session_id, now=now, default_zone=default_zone)
    void_sessions(connection, user_id, [session_id], reason=REASON, now=now, default_zone=default_zone)
    return read_session(connection, user_id, session_id)


def unvoid(connection: Connection, user_id: int, session_id: int, *, default_zone: str) -> dict[str, Any]:
    """Bring a voided session back; one that is not void stays as it is."""
    enter(connection, user_id)
    lock_session(connection, user_id, session_id)
    unvoid_sessions(connection, user_id, [session_id], default_zone=default_zone)
    return read_session(connection, user_id, session_id)
