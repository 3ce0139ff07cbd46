"""Other content that came under the uuid of an upload: find it, look at it, throw it away."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from shared.errors import UnknownConflictError

_LIST = text("""
    SELECT c.id, c.client_session_uuid, c.received_at, u.received_at AS first_received_at, u.status
    FROM upload_conflicts c JOIN uploads u USING (client_session_uuid) ORDER BY c.id DESC LIMIT :limit
""")

_OPEN = text("""
    SELECT c.id, c.client_session_uuid, c.received_at, c.payload, u.received_at AS first_received_at,
        u.status AS first_status, u.payload AS first_payload
    FROM upload_conflicts c JOIN uploads u USING (client_session_uuid) WHERE c.id = :id
""")

_DISCARD = text("DELETE FROM upload_conflicts WHERE id = :id")


class ListedConflict(NamedTuple):
    """A conflict in a list; `status`: where the upload itself stands."""

    id: int
    client_session_uuid: UUID
    received_at: datetime
    first_received_at: datetime
    status: str


@dataclass(frozen=True, slots=True)
class OpenedConflict:
    """A conflict beside what stands; a payload is None once it is purged."""

    id: int
    client_session_uuid: UUID
    received_at: datetime
    payload: dict[str, Any] | None
    first_received_at: datetime
    first_status: str
    first_payload: dict[str, Any] | None


def list_conflicts(connection: Connection, *, limit: int) -> list[ListedConflict]:
    """List conflicts, the newest first."""
    return [ListedConflict(*row) for row in connection.execute(_LIST, {"limit": limit})]


def open_conflict(connection: Connection, conflict: int) -> OpenedConflict:
    """Look a conflict up; raise UnknownConflictError if there is none."""
    if (row := connection.execute(_OPEN, {"id": conflict}).one_or_none()) is None:
        raise UnknownConflictError(f"there is no conflict {conflict}")
    return OpenedConflict(**row._asdict())


def discard_conflict(connection: Connection, conflict: int) -> None:
    """Throw away what came second; raise UnknownConflictError if it is gone."""
    if not connection.execute(_DISCARD, {"id": conflict}).rowcount:
        raise UnknownConflictError(f"there is no conflict {conflict}")
