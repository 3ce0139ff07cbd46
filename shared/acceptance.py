"""Accept a conflict: its content takes the place of what came first under the same uuid."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from shared.errors import ReplayRefusedError
from shared.study.store import lock_learner
from shared.study.voiding import void_sessions
from shared.uploads.conflicts import discard_conflict, open_conflict

REASON = "superseded: other content was accepted under the same uuid"

_LOCK = text("SELECT FROM uploads WHERE client_session_uuid = :uuid FOR NO KEY UPDATE")

_SESSIONS = text("""
    SELECT id, user_id FROM study_quiz_sessions
    WHERE client_session_uuid = CAST(:uuid AS text) AND superseded_at IS NULL
""")

_SUPERSEDE = text("""
    UPDATE study_quiz_sessions SET superseded_at = :now WHERE id = ANY(CAST(:session_ids AS bigint[]))
""")

# Under a new id: whoever accepts the same conflict once more shall not swap the two back.
_KEEP_FIRST = text("""
    INSERT INTO upload_conflicts (client_session_uuid, content_hash, payload, received_at, user_id)
    SELECT client_session_uuid, content_hash, payload, received_at, user_id FROM uploads
    WHERE client_session_uuid = :uuid
    ON CONFLICT (client_session_uuid, content_hash) DO NOTHING
""")

# No try is counted yet: unlike a new upload, it has had no first ring that counts as one.
_REPLACE = text("""
    UPDATE uploads SET payload = c.payload, content_hash = c.content_hash, received_at = c.received_at,
        status = 'received', tries = 0, next_try_at = now(), finalized_at = NULL,
        result = NULL, reason = NULL, last_error = NULL, user_id = c.user_id
    FROM upload_conflicts c
    WHERE c.id = :conflict AND uploads.client_session_uuid = c.client_session_uuid
""")


def accept_conflict(engine: Engine, conflict: int, *, now: datetime, default_zone: str) -> UUID:
    """Set an upload to a conflict's content, for the sweeper to ring, and keep the first as the conflict.

    One transaction; locks in the order of a replay. Returns the upload's uuid; raises UnknownConflictError,
    and ReplayRefusedError where the payload is purged.
    """
    with engine.begin() as connection:
        uuid = open_conflict(connection, conflict).client_session_uuid
        connection.execute(_LOCK, {"uuid": uuid})
        if open_conflict(connection, conflict).payload is None:
            raise ReplayRefusedError(f"the payload of conflict {conflict} is purged")
        _supersede(connection, uuid, now, default_zone)
        connection.execute(_KEEP_FIRST, {"uuid": uuid})
        connection.execute(_REPLACE, {"conflict": conflict})
        discard_conflict(connection, conflict)
    return uuid


def _supersede(connection: Connection, uuid: UUID, now: datetime, default_zone: str) -> None:
    sessions = list(connection.execute(_SESSIONS, {"uuid": uuid}))
    if not sessions:
        return
    ids, learner = [session.id for session in sessions], sessions[0].user_id
    lock_learner(connection, learner)
    void_sessions(connection, learner, ids, reason=REASON, now=now, default_zone=default_zone)
    connection.execute(_SUPERSEDE, {"session_ids": ids, "now": now})
