"""Give follow-ups that were not delivered another chance."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from shared.followups.rows import Status

_LIST = text("""
    SELECT id, study_quiz_session_id, kind, status, tries, created_at, finished_at, last_error
    FROM study_followups WHERE status = :status ORDER BY created_at DESC, id LIMIT :limit
""")

# Those of a voided session stay: what it taught is taken back.
_REVIVE = text("""
    UPDATE study_followups SET status = 'waiting', tries = 0, next_try_at = now(), finished_at = NULL
    FROM study_quiz_sessions s
    WHERE s.id = study_quiz_session_id AND s.voided_at IS NULL
        AND study_followups.status = :status AND study_followups.status IN ('dead', 'skipped')
""")


class Listed(NamedTuple):
    """A follow-up in a list."""

    id: UUID
    session_id: int
    kind: str
    status: str
    tries: int
    created_at: datetime
    finished_at: datetime | None
    last_error: str | None


def list_followups(connection: Connection, status: Status, *, limit: int) -> list[Listed]:
    """List follow-ups of a status, the newest first."""
    rows = connection.execute(_LIST, {"status": status, "limit": limit})
    return [Listed(*row) for row in rows]


def revive_followups(connection: Connection, status: Status) -> int:
    """Let all dead, or all skipped, follow-ups wait again with every try ahead; return how many."""
    return connection.execute(_REVIVE, {"status": status}).rowcount
