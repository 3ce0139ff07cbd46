"""Delete the payloads of uploads that ended long ago, and of their conflicts.

The rows and their hashes stay: so a repeated upload, or other content under its uuid, is still recognised.
"""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from shared.db import execute, scalar
from shared.uploads import Status

# How many rows one transaction looks at: few, so that it is short and locks few rows in a table of any size.
SLICE = 500

# A recent conflict is not purged with an old upload: an operator has to decide about it.
_COUNT = text("""
    SELECT (SELECT count(*) FROM uploads
        WHERE status = :status AND finalized_at < now() - :older_than AND payload IS NOT NULL)
    + (SELECT count(*) FROM upload_conflicts c JOIN uploads u USING (client_session_uuid)
        WHERE u.status = :status AND u.finalized_at < now() - :older_than
            AND c.received_at < now() - :older_than AND c.payload IS NOT NULL)
""")

_UPLOADS = text("""
    WITH slice AS (
        SELECT client_session_uuid FROM uploads WHERE client_session_uuid > :start
        ORDER BY client_session_uuid LIMIT :slice
    ), due AS (
        SELECT client_session_uuid FROM uploads JOIN slice USING (client_session_uuid)
        WHERE status = :status AND finalized_at < now() - :older_than AND payload IS NOT NULL
        FOR NO KEY UPDATE OF uploads SKIP LOCKED
    ), purged AS (
        UPDATE uploads SET payload = NULL FROM due
        WHERE uploads.client_session_uuid = due.client_session_uuid
        RETURNING uploads.client_session_uuid
    ), events AS (
        INSERT INTO upload_events (client_session_uuid, kind) SELECT client_session_uuid, 'purged' FROM purged
    )
    SELECT (SELECT count(*) FROM purged) AS purged,
        (SELECT client_session_uuid FROM slice ORDER BY client_session_uuid DESC LIMIT 1) AS last
""")

# The upload is locked, too: accepting a conflict locks the upload, and then reads the conflict's payload.
_CONFLICTS = text("""
    WITH slice AS (
        SELECT id FROM upload_conflicts WHERE id > :start ORDER BY id LIMIT :slice
    ), due AS (
        SELECT c.id FROM upload_conflicts c JOIN slice USING (id) JOIN uploads u USING (client_session_uuid)
        WHERE u.status = :status AND u.finalized_at < now() - :older_than
            AND c.received_at < now() - :older_than AND c.payload IS NOT NULL
        FOR NO KEY UPDATE OF c, u SKIP LOCKED
    ), purged AS (
        UPDATE upload_conflicts SET payload = NULL FROM due WHERE upload_conflicts.id = due.id
        RETURNING upload_conflicts.id
    )
    SELECT (SELECT count(*) FROM purged) AS purged, (SELECT max(id) FROM slice) AS last
""")


def count_purgeable(connection: Connection, status: Status, *, older_than: timedelta) -> int:
    """Count the payloads that `purge` would delete with the same status and age."""
    return int(scalar(connection, _COUNT, {"status": status, "older_than": older_than}))


def purge(engine: Engine, status: Status, *, older_than: timedelta, size: int = SLICE) -> Iterator[int]:
    """Purge the payloads of uploads that got `status` more than `older_than` ago, and of their conflicts.

    A conflict that arrived later is not purged. Each step looks at `size` rows in a transaction of its own,
    and yields how many payloads it purged. Rows that other transactions have locked are skipped.
    """
    bound = {"status": status, "older_than": older_than, "slice": size}
    for statement, first in ((_UPLOADS, UUID(int=0)), (_CONFLICTS, 0)):
        last: UUID | int | None = first
        while last is not None:
            with engine.begin() as connection:
                ((purged, last),) = execute(connection, statement, bound | {"start": last})
            yield purged
