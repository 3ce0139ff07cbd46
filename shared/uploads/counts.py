"""How many uploads ended how since a time: read from the index on times, however many lie before it."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

_COUNTS = text("""
    SELECT (SELECT count(*) FROM uploads WHERE received_at >= :since), ended.*
    FROM (SELECT count(*) FILTER (WHERE status = 'ingested'), count(*) FILTER (WHERE status = 'rejected'),
        count(*) FILTER (WHERE status = 'dead') FROM uploads WHERE finalized_at >= :since) AS ended
""")

_FOLLOWUPS = text("SELECT status, count(*) AS followups FROM study_followups GROUP BY status ORDER BY status")


class Counts(NamedTuple):
    """How many uploads were received, and how many ended how."""

    received: int
    ingested: int
    rejected: int
    dead: int


def count_since(connection: Connection, since: datetime) -> Counts:
    """Count what was received and what ended since a time."""
    return Counts(*connection.execute(_COUNTS, {"since": since}).one())


def count_followups(connection: Connection) -> dict[str, int]:
    """Count the follow-ups of each status."""
    return {row.status: row.followups for row in connection.execute(_FOLLOWUPS)}
