"""Bring failed uploads back to life: as they were when they came, with every try ahead of them."""

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from shared.errors import ReplayRefusedError, UnknownUploadError
from shared.uploads.search import Listed, Search, search
from shared.uploads.status import Status


class Revival(StrEnum):
    """Tell what became of the wish to replay an upload."""

    REVIVED = "set back"
    WAITING = "waiting already"
    INGESTED = "ingested already"
    VOID = "ingested already (void)"
    PURGED = "purged"


_FAILED = (Status.REJECTED, Status.DEAD)

# No try is counted yet: unlike a new upload, it has had no first ring that counts as one.
_REVIVE = text("""
    UPDATE uploads SET status = 'received', tries = 0, next_try_at = now(), finalized_at = NULL,
        result = NULL, reason = NULL, last_error = coalesce(last_error, 'rejected: ' || reason)
    WHERE client_session_uuid = :id AND status IN ('rejected', 'dead') AND payload IS NOT NULL
""")

_STANDING = text("""
    SELECT status, EXISTS (SELECT FROM study_quiz_sessions
        WHERE client_session_uuid = CAST(:id AS text) AND voided_at IS NOT NULL AND superseded_at IS NULL)
    FROM uploads WHERE client_session_uuid = :id
""")

_WITHOUT_FAILURE = {Status.RECEIVED: Revival.WAITING, Status.INGESTED: Revival.INGESTED}


def revive(connection: Connection, client_session_uuid: UUID) -> Revival:
    """Set a failed upload back to `received`, for the sweeper to ring; its last error stays to be seen.

    One that waits or is ingested stays as it is. Raises UnknownUploadError.
    """
    bound = {"id": client_session_uuid}
    if connection.execute(_REVIVE, bound).rowcount:
        return Revival.REVIVED
    standing = connection.execute(_STANDING, bound).one_or_none()
    if standing is None:
        raise UnknownUploadError(f"there is no upload {client_session_uuid}")
    status, is_void = standing
    if is_void and status == Status.INGESTED:
        return Revival.VOID
    return _WITHOUT_FAILURE.get(Status(status), Revival.PURGED)


def revive_one(engine: Engine, client_session_uuid: UUID) -> Revival:
    """Revive an upload in a transaction; raise ReplayRefusedError if its payload is purged."""
    with engine.begin() as connection:
        revival = revive(connection, client_session_uuid)
    if revival is Revival.PURGED:
        raise ReplayRefusedError(
            f"the payload of {client_session_uuid} is purged: there is nothing to replay"
        )
    return revival


def find_failed(connection: Connection, wanted: Search) -> list[UUID]:
    """Find all rejected and dead uploads that a search means and that can be replayed, the oldest first."""
    found = sorted(_search_failed(connection, wanted, purged=False), key=lambda each: each.received_at)
    return [each.client_session_uuid for each in found]


def count_purged(connection: Connection, wanted: Search) -> int:
    """Count the rejected and dead uploads that a search means, but that can never be replayed."""
    return len(_search_failed(connection, wanted, purged=True))


def _search_failed(connection: Connection, wanted: Search, *, purged: bool) -> list[Listed]:
    statuses = [status for status in _FAILED if wanted.status in (None, status)]
    searches = [replace(wanted, status=status, purged=purged, limit=None) for status in statuses]
    return [each for meant in searches for each in search(connection, meant)]


def revive_all(engine: Engine, wanted: Search) -> Iterator[tuple[UUID, Revival]]:
    """Revive all failed uploads that a search means and that can be, each in a transaction of its own."""
    with engine.connect() as connection:
        failed = find_failed(connection, wanted)
    for upload in failed:
        with engine.begin() as connection:
            revival = revive(connection, upload)
        yield upload, revival
