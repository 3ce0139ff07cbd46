"""Forget the payloads of uploads that are done: learners' answers, which nothing needs any more."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, TextClause, text

from shared.uploads.status import Status

BATCH = 500  # rows locked at once: so few that a running system does not notice

# Other content that came lately is not old, however old the upload: an operator is still to decide.
_COUNT = text("""
    SELECT (SELECT count(*) FROM uploads
        WHERE status = :status AND finalized_at < :before AND payload IS NOT NULL)
    + (SELECT count(*) FROM upload_conflicts c JOIN uploads u USING (client_session_uuid)
        WHERE u.status = :status AND u.finalized_at < :before
            AND c.received_at < :before AND c.payload IS NOT NULL)
""")

# The row and its hash stay: what is sent again is still known, and other content still a conflict.
_PURGE_UPLOADS = text("""
    WITH due AS (
        SELECT client_session_uuid FROM uploads
        WHERE status = :status AND finalized_at < :before AND payload IS NOT NULL
            AND client_session_uuid >= :start
        ORDER BY client_session_uuid LIMIT :batch FOR UPDATE SKIP LOCKED
    )
    UPDATE uploads SET payload = NULL FROM due
    WHERE uploads.client_session_uuid = due.client_session_uuid
    RETURNING uploads.client_session_uuid
""")

# The upload is locked too: whoever accepts a conflict holds it, and reads the payload.
_PURGE_CONFLICTS = text("""
    WITH due AS (
        SELECT c.id FROM upload_conflicts c JOIN uploads u USING (client_session_uuid)
        WHERE u.status = :status AND u.finalized_at < :before
            AND c.received_at < :before AND c.payload IS NOT NULL AND c.id >= :start
        ORDER BY c.id LIMIT :batch FOR UPDATE SKIP LOCKED
    )
    UPDATE upload_conflicts SET payload = NULL FROM due WHERE upload_conflicts.id = due.id
    RETURNING upload_conflicts.id
""")


def count_purgeable(engine: Engine, status: Status, *, before: datetime) -> int:
    """Count the payloads that would be purged: of uploads of a final status, and of their conflicts."""
    with engine.connect() as connection:
        bound = {"status": status, "before": before}
        return int(connection.execute(_COUNT, bound).scalar_one())


def purge(engine: Engine, status: Status, *, before: datetime, batch: int = BATCH) -> Iterator[int]:
    """Purge payloads of uploads that ended before a time, and of what had come under their uuids by then.

    Yields the size of each batch as it commits. What somebody else holds is passed over.
    """
    bound = {"status": status, "before": before, "batch": batch}
    yield from _purge(engine, _PURGE_UPLOADS, bound, UUID(int=0))
    yield from _purge(engine, _PURGE_CONFLICTS, bound, 0)


def _purge(
    engine: Engine, statement: TextClause, bound: dict[str, object], start: UUID | int
) -> Iterator[int]:
    """Go through a table by its key, so that no batch looks again at what an earlier one has done."""
    while True:
        with engine.begin() as connection:
            purged = list(connection.execute(statement, bound | {"start": start}).scalars())
        if not purged:
            return
        yield len(purged)
        start = max(purged)
