"""What a receiver is told of an upload that died: which and when, never why, as errors are for operators."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from shared.followups.message import Message

_LOOK = text("""
    SELECT id, client_session_uuid, upload_tries, tries, created_at FROM upload_notices
    WHERE id = ANY(CAST(:ids AS uuid[]))
""")


def look_at_notices(connection: Connection, notices: Sequence[UUID]) -> list[Message]:
    """Load what is to be told of some notices."""
    return [
        Message(
            row.id,
            "upload.dead",
            row.tries,
            row.created_at,
            {"client_session_uuid": str(row.client_session_uuid), "tries": row.upload_tries},
        )
        for row in connection.execute(_LOOK, {"ids": notices})
    ]
