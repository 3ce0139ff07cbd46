"""Everything that is known of one upload, for an operator."""

from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from shared.errors import UnknownUploadError
from shared.uploads.status import Status

_UPLOAD = text("""
    SELECT u.client_session_uuid, u.status, u.received_at, u.finalized_at, u.tries, u.next_try_at, u.user_id,
        u.reason, u.last_error, u.result, u.payload, voided.at AS voided_at, voided.reason AS void_reason
    FROM uploads u
    LEFT JOIN LATERAL (SELECT voided_at AS at, void_reason AS reason FROM study_quiz_sessions
        WHERE client_session_uuid = CAST(u.client_session_uuid AS text) AND voided_at IS NOT NULL
            AND superseded_at IS NULL
        ORDER BY voided_at DESC LIMIT 1) AS voided ON TRUE
    WHERE u.client_session_uuid = :id
""")

_CONFLICTS = text("""
    SELECT id, received_at, content_hash FROM upload_conflicts
    WHERE client_session_uuid = :id ORDER BY received_at, id
""")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Other content that came under the upload's uuid, and was kept aside."""

    id: int
    received_at: datetime
    content_hash: str


@dataclass(frozen=True, slots=True)
class Dossier:
    """An upload as an operator may see it; `payload` is None once it is purged."""

    client_session_uuid: UUID
    status: Status
    received_at: datetime
    finalized_at: datetime | None
    tries: int
    next_try_at: datetime
    user_id: int | None
    reason: str | None
    last_error: str | None
    result: dict[str, Any] | None
    payload: dict[str, Any] | None
    voided_at: datetime | None
    void_reason: str | None
    conflicts: list[Conflict]

    @property
    def timeline(self) -> list[tuple[datetime, str]]:
        """Tell what happened to it when, and what is next."""
        moments = [(self.received_at, "received")]
        moments += [(each.received_at, "other content kept aside") for each in self.conflicts]
        if self.status is Status.RECEIVED:
            moments.append((self.next_try_at, "next try"))
        if self.finalized_at:
            moments.append((self.finalized_at, str(self.status)))
        if self.voided_at:
            moments.append((self.voided_at, "voided"))
        return sorted(moments, key=itemgetter(0))


def open_dossier(connection: Connection, client_session_uuid: UUID) -> Dossier:
    """Look up all that is known of an upload; raise UnknownUploadError if there is none."""
    row = connection.execute(_UPLOAD, {"id": client_session_uuid}).one_or_none()
    if row is None:
        raise UnknownUploadError(f"there is no upload {client_session_uuid}")
    conflicts = connection.execute(_CONFLICTS, {"id": client_session_uuid})
    known = row._asdict() | {"status": Status(row.status)}
    return Dossier(**known, conflicts=[Conflict(*each) for each in conflicts])
