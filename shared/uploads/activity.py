"""What was received and what became of it, over time: what an operator's plot shows."""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

# An upload that is replayed by hand counts where it ended last.
_COUNTS = text("""
    WITH event (at, kind) AS (
        SELECT received_at, 'received' FROM uploads WHERE received_at >= :since
        UNION ALL
        SELECT finalized_at, status FROM uploads WHERE finalized_at >= :since
    ), counted AS (
        SELECT date_bin(:step, at, :since) AS start,
            count(*) FILTER (WHERE kind = 'received') AS received,
            count(*) FILTER (WHERE kind = 'ingested') AS ingested,
            count(*) FILTER (WHERE kind = 'rejected') AS rejected,
            count(*) FILTER (WHERE kind = 'dead') AS dead
        FROM event GROUP BY 1)
    SELECT start, coalesce(received, 0), coalesce(ingested, 0), coalesce(rejected, 0), coalesce(dead, 0)
    FROM generate_series(:since, CAST(:now AS timestamptz), :step) AS start LEFT JOIN counted USING (start)
    ORDER BY start
""")


class Activity(NamedTuple):
    """How many uploads were received, and how many ended how, in the span of time that begins at `start`."""

    start: datetime
    received: int
    ingested: int
    rejected: int
    dead: int


def activity(connection: Connection, *, now: datetime, steps: int, step: timedelta) -> list[Activity]:
    """Count what happened in each of the last steps, the oldest first; the last one is not over yet."""
    begun = now.timestamp() // step.total_seconds() * step.total_seconds()
    since = datetime.fromtimestamp(begun, now.tzinfo) - step * (steps - 1)
    rows = connection.execute(_COUNTS, {"since": since, "step": step, "now": now})
    return [Activity(*row) for row in rows]
