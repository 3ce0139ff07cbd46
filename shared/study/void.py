"""Take a session out of the learner's progress, and back in; it stays on record."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, text

from shared.errors import UnknownSessionError
from shared.study.learner_rows import lock_learner
from shared.study.refold import refold

_OF_UPLOAD = text("""
    SELECT id, user_id FROM study_quiz_sessions WHERE client_session_uuid = :client_session_uuid
""")

_VOID = text("""
    UPDATE study_quiz_sessions SET voided_at = :now, void_reason = :reason
    WHERE id = ANY(CAST(:session_ids AS bigint[])) AND voided_at IS NULL
    RETURNING id
""")

_UNVOID = text("""
    UPDATE study_quiz_sessions SET voided_at = NULL, void_reason = NULL
    WHERE id = ANY(CAST(:session_ids AS bigint[])) AND voided_at IS NOT NULL
    RETURNING id
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
    engine: Engine, client_session_uuid: UUID, *, reason: str, now: datetime, default_zone: str
) -> int:
    """Void the sessions of an upload in one transaction; return how many were not void before."""
    with engine.begin() as connection:
        sessions = _sessions_of(connection, client_session_uuid)
        return void_sessions(connection, sessions, reason=reason, now=now, default_zone=default_zone)


def unvoid_upload(engine: Engine, client_session_uuid: UUID, *, default_zone: str) -> int:
    """Bring the sessions of an upload back in one transaction; return how many were void."""
    with engine.begin() as connection:
        sessions = _sessions_of(connection, client_session_uuid)
        bound = {"session_ids": _lock(connection, sessions)}
        changed = list(connection.execute(_UNVOID, bound).scalars())
        _fold_again(connection, sessions[0].user_id, changed, default_zone)
        return len(changed)


def void_sessions(
    connection: Connection, sessions: list[Row[Any]], *, reason: str, now: datetime, default_zone: str
) -> int:
    """Void sessions of one learner, rows of `id` and `user_id`; their waiting follow-ups are skipped."""
    bound = {"session_ids": _lock(connection, sessions), "reason": reason, "now": now}
    changed = list(connection.execute(_VOID, bound).scalars())
    connection.execute(_SKIP_FOLLOWUPS, {"session_ids": changed})
    _fold_again(connection, sessions[0].user_id, changed, default_zone)
    return len(changed)


def _sessions_of(connection: Connection, client_session_uuid: UUID) -> list[Row[Any]]:
    bound = {"client_session_uuid": str(client_session_uuid)}
    sessions = list(connection.execute(_OF_UPLOAD, bound))
    if not sessions:
        raise UnknownSessionError(f"{client_session_uuid} has left no quiz session")
    return sessions


def _lock(connection: Connection, sessions: list[Row[Any]]) -> list[int]:
    lock_learner(connection, sessions[0].user_id)
    return [session.id for session in sessions]


def _fold_again(connection: Connection, user_id: int, session_ids: Iterable[int], default_zone: str) -> None:
    touched = connection.execute(_TOUCHED, {"session_ids": list(session_ids)}).scalars()
    refold(connection, user_id, default_zone, list(touched))
