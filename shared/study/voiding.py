"""Void sessions, so that they no longer count in the learner's progress, and bring them back."""

from typing import Any

from sqlalchemy import Connection, TextClause, text

from shared.db import execute, scalar, scalars
from shared.errors import SupersededError
from shared.study.finalize import refold

_VOID = text("""
    UPDATE study_quiz_sessions SET voided_at = now(), void_reason = :reason
    WHERE user_id = :user_id AND id = ANY(CAST(:session_ids AS bigint[])) AND voided_at IS NULL
    RETURNING id
""")

# A superseded session never comes back: its answers may count through the session that took its place.
_UNVOID = text("""
    UPDATE study_quiz_sessions SET voided_at = NULL, void_reason = NULL
    WHERE user_id = :user_id AND id = ANY(CAST(:session_ids AS bigint[])) AND voided_at IS NOT NULL
        AND superseded_at IS NULL
    RETURNING id
""")

_SUPERSEDED = text("""
    SELECT EXISTS (SELECT FROM study_quiz_sessions
        WHERE user_id = :user_id AND id = ANY(CAST(:session_ids AS bigint[])) AND superseded_at IS NOT NULL)
""")

_SKIP_WEBHOOKS = text("""
    UPDATE outbox SET status = 'skipped', finished_at = now(), last_error = 'session voided'
    WHERE user_id = :user_id AND study_quiz_session_id = ANY(CAST(:session_ids AS bigint[]))
        AND status = 'waiting'
""")

# The receiver may get a message with the same id twice, if its answer was late when the session was voided.
_RESUME_WEBHOOKS = text("""
    UPDATE outbox SET status = 'waiting', finished_at = NULL, last_error = NULL, tries = 0,
        next_try_at = now()
    WHERE user_id = :user_id AND study_quiz_session_id = ANY(CAST(:session_ids AS bigint[]))
        AND status = 'skipped' AND last_error = 'session voided'
""")

_TOUCHED = text("""
    SELECT DISTINCT study_question_id FROM study_question_attempts
    WHERE user_id = :user_id AND study_quiz_session_id = ANY(CAST(:session_ids AS bigint[]))
""")


def void_sessions(connection: Connection, user_id: int, session_ids: list[int], *, reason: str) -> int:
    """Void closed sessions of a learner, and skip their waiting webhooks; return how many sessions.

    Sessions that were void before are not counted. The caller holds the learner's lock. Raises
    SupersededError if none was voided and some are superseded: the answers of a superseded session may count
    through another session.
    """
    sessions = {"user_id": user_id, "session_ids": session_ids, "reason": reason}
    return _change(connection, _VOID, sessions, _SKIP_WEBHOOKS)


def unvoid_sessions(connection: Connection, user_id: int, session_ids: list[int]) -> int:
    """Bring voided sessions of a learner and their skipped webhooks back; return how many sessions.

    The caller holds the learner's lock. Raises SupersededError if none comes back and some are superseded.
    """
    sessions = {"user_id": user_id, "session_ids": session_ids}
    return _change(connection, _UNVOID, sessions, _RESUME_WEBHOOKS)


def _change(
    connection: Connection, statement: TextClause, sessions: dict[str, Any], webhooks: TextClause
) -> int:
    """Change sessions, then the webhooks of those that changed; fold their questions again."""
    changed = scalars(connection, statement, sessions)
    if not changed and scalar(connection, _SUPERSEDED, sessions):
        raise SupersededError(
            "the session is void permanently: its upload was replayed again, or other content was accepted"
        )
    bound = {"user_id": sessions["user_id"], "session_ids": changed}
    execute(connection, webhooks, bound)
    refold(connection, sessions["user_id"], scalars(connection, _TOUCHED, bound))
    return len(changed)
