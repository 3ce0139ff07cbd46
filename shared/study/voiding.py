"""Take a session out of the learner's progress, and back in; it stays on record."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from shared.db import execute, scalar, scalars
from shared.errors import SupersededError, UnknownSessionError
from shared.study.finalize import refold
from shared.study.store import lock_learner

# One that stands comes first: the content that was superseded may be another learner's.
_OF_UPLOAD = text("""
    SELECT id, user_id, superseded_at IS NULL AS stands FROM study_quiz_sessions
    WHERE client_session_uuid = :client_session_uuid ORDER BY stands DESC
""")

_LOCK_UPLOAD = text("""
    SELECT FROM uploads WHERE client_session_uuid = CAST(:client_session_uuid AS uuid) FOR NO KEY UPDATE
""")

_VOID = text("""
    UPDATE study_quiz_sessions SET voided_at = :now, void_reason = :reason
    WHERE id = ANY(CAST(:session_ids AS bigint[])) AND voided_at IS NULL
    RETURNING id
""")

# What was superseded never comes back: beside the content that took its place it would count double.
_UNVOID = text("""
    UPDATE study_quiz_sessions SET voided_at = NULL, void_reason = NULL
    WHERE id = ANY(CAST(:session_ids AS bigint[])) AND voided_at IS NOT NULL AND superseded_at IS NULL
    RETURNING id
""")

_SUPERSEDED = text("""
    SELECT EXISTS (SELECT FROM study_quiz_sessions
        WHERE id = ANY(CAST(:session_ids AS bigint[])) AND superseded_at IS NOT NULL)
""")

_SKIP_FOLLOWUPS = text("""
    UPDATE study_followups SET status = 'skipped', finished_at = now(), last_error = 'session voided'
    WHERE study_quiz_session_id = ANY(CAST(:session_ids AS bigint[])) AND status = 'waiting'
""")

_TOUCHED = text("""
    SELECT DISTINCT study_question_id FROM study_question_attempts
    WHERE study_quiz_session_id = ANY(CAST(:session_ids AS bigint[])) AND counted
""")


def void_upload(
    connection: Connection, client_session_uuid: UUID, *, reason: str, now: datetime, default_zone: str
) -> int:
    """Void the sessions of an upload; return how many were not void before."""
    learner, sessions = _lock_upload(connection, client_session_uuid)
    return void_sessions(connection, learner, sessions, reason=reason, now=now, default_zone=default_zone)


def unvoid_upload(connection: Connection, client_session_uuid: UUID, *, default_zone: str) -> int:
    """Bring the sessions of an upload back; return how many were void."""
    learner, sessions = _lock_upload(connection, client_session_uuid)
    return unvoid_sessions(connection, learner, sessions, default_zone=default_zone)


def _lock_upload(connection: Connection, client_session_uuid: UUID) -> tuple[int, list[int]]:
    """Lock an upload and its learner; return him and the upload's sessions.

    The upload first: whoever holds it may be giving it another session.
    """
    execute(connection, _LOCK_UPLOAD, {"client_session_uuid": str(client_session_uuid)})
    sessions = list(execute(connection, _OF_UPLOAD, {"client_session_uuid": str(client_session_uuid)}))
    if not sessions:
        raise UnknownSessionError(f"there is no quiz session of an upload {client_session_uuid}")
    if not sessions[0].stands:
        raise SupersededError(f"all sessions of {client_session_uuid} are superseded by content that waits")
    lock_learner(connection, sessions[0].user_id)
    return sessions[0].user_id, [session.id for session in sessions]


def void_sessions(  # noqa: PLR0913  # what, why, when, and by whose day
    connection: Connection,
    user_id: int,
    session_ids: list[int],
    *,
    reason: str,
    now: datetime,
    default_zone: str,
) -> int:
    """Void closed sessions of a learner whose lock the caller holds; waiting follow-ups are skipped."""
    bound = {"session_ids": session_ids, "reason": reason, "now": now}
    changed = scalars(connection, _VOID, bound)
    execute(connection, _SKIP_FOLLOWUPS, {"session_ids": changed})
    _fold_again(connection, user_id, changed, default_zone)
    return len(changed)


def unvoid_sessions(
    connection: Connection, user_id: int, session_ids: list[int], *, default_zone: str
) -> int:
    """Bring voided sessions back, of a learner whose lock the caller holds.

    Raises SupersededError where nothing but what was superseded is void.
    """
    changed = scalars(connection, _UNVOID, {"session_ids": session_ids})
    if not changed and scalar(connection, _SUPERSEDED, {"session_ids": session_ids}):
        raise SupersededError("void for good: superseded by other content, accepted under the same uuid")
    _fold_again(connection, user_id, changed, default_zone)
    return len(changed)


def _fold_again(connection: Connection, user_id: int, session_ids: list[int], default_zone: str) -> None:
    touched = scalars(connection, _TOUCHED, {"session_ids": session_ids})
    refold(connection, user_id, default_zone, touched)
