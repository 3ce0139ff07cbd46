"""Read an upload's row, and write its final status."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from shared.errors import OvertakenError
from shared.statement import as_json, run
from shared.uploads.status import Status


@dataclass(frozen=True, slots=True)
class Found:
    """An upload as its sender may see it."""

    client_session_uuid: UUID
    status: Status
    received_at: datetime
    finalized_at: datetime | None
    tries: int
    voided_at: datetime | None
    reason: str | None
    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A `received` upload whose row the caller has locked; `payload` is its decoded JSON."""

    client_session_uuid: UUID
    payload: dict[str, Any]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class End:
    """How a replay ended.

    `user_id`: the learner, None if there is not just one; `reason`: the stable code of a rejection.
    """

    status: Status
    finalized_at: datetime
    user_id: int | None
    result: dict[str, Any]
    reason: str | None = None


_FIND = text("""
    SELECT client_session_uuid, status, received_at, finalized_at, tries, reason, result,
        (SELECT max(voided_at) FROM study_quiz_sessions
         WHERE client_session_uuid = CAST(uploads.client_session_uuid AS text)
           AND superseded_at IS NULL) AS voided_at
    FROM uploads WHERE client_session_uuid = :id
""")

_LOCK = text("""
    SELECT status, payload, received_at FROM uploads WHERE client_session_uuid = :id FOR NO KEY UPDATE
""")

# As in `tries`: asked for the status, Postgres may look through all that wait.
_CLOSE = text("""
    UPDATE uploads SET status = :status, reason = :reason, result = CAST(:result AS jsonb),
        user_id = :user_id, finalized_at = :finalized_at, last_error = NULL
    WHERE client_session_uuid = :id AND finalized_at IS NULL
""")


def find(connection: Connection, client_session_uuid: UUID) -> Found | None:
    """Look an upload up."""
    row = connection.execute(_FIND, {"id": client_session_uuid}).one_or_none()
    return None if row is None else Found(**row._asdict() | {"status": Status(row.status)})


def lock(connection: Connection, client_session_uuid: UUID) -> Waiting | None:
    """Lock an upload's row and return it; None if it is unknown or final."""
    row = run(connection, _LOCK, {"id": client_session_uuid}).fetchone()
    if row is None or row[0] != Status.RECEIVED:
        return None
    return Waiting(client_session_uuid, *row[1:])


def close(connection: Connection, upload: Waiting, end: End) -> None:
    """Write an upload's final status: the last write of its transaction."""
    bound = {
        "id": upload.client_session_uuid,
        "status": end.status,
        "reason": end.reason,
        "result": as_json(end.result),
        "user_id": end.user_id,
        "finalized_at": end.finalized_at,
    }
    if not run(connection, _CLOSE, bound).rowcount:
        raise OvertakenError("the upload was closed meanwhile")
