"""Forget the payloads of uploads that are done: learners' answers, which nothing needs any more."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Engine, text

from shared.uploads.status import Status

BATCH = 500  # rows locked at once: so few that a running system does not notice

_COUNT = text("""
    SELECT count(*) FROM uploads WHERE status = :status AND finalized_at < :before AND payload IS NOT NULL
""")

# The row and its hash stay: what is sent again is still known, and other content still a conflict.
_PURGE = text("""
    WITH due AS (
        SELECT client_session_uuid FROM uploads
        WHERE status = :status AND finalized_at < :before AND payload IS NOT NULL
        LIMIT :batch FOR UPDATE SKIP LOCKED
    ), purged AS (
        UPDATE uploads SET payload = NULL FROM due
        WHERE uploads.client_session_uuid = due.client_session_uuid
    )
    SELECT count(*) FROM due
""")


def count_purgeable(engine: Engine, status: Status, *, before: datetime) -> int:
    """Count the uploads of a final status whose payload would be purged."""
    with engine.connect() as connection:
        bound = {"status": status, "before": before}
        return int(connection.execute(_COUNT, bound).scalar_one())


def purge(engine: Engine, status: Status, *, before: datetime) -> Iterator[int]:
    """Purge payloads of uploads that ended before a time; yield the size of each batch as it commits."""
    while True:
        with engine.begin() as connection:
            bound = {"status": status, "before": before, "batch": BATCH}
            count = int(connection.execute(_PURGE, bound).scalar_one())
        if not count:
            return
        yield count
