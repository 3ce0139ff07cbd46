"""How the whole stands, judged once: the operators' page, `doctor` and the alerts take the same thresholds.

Times are by Postgres' clock, so that hosts which disagree about the time do not matter.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, text

from shared.broker import MESSAGE_SIZE
from shared.config import Settings
from shared.db import execute

SWEEPER = "sweeper"
# A system that works has enqueued it so often in vain; the last upload of a backlog may wait as long.
OVERDUE_AFTER_ENQUEUED = 10
# By default a minute: a sweep may take long, and a restart too.
SILENT_AFTER_SWEEPS = 12

# Each part is answered from a partial index: what went well is not looked at. What is purged is at rest: no
# operator can do anything about it.
_LOOK = text("""
    SELECT waiting, oldest, extract(epoch FROM now() - oldest)::float8 AS oldest_age,
        rejected, dead, conflicts,
        (SELECT extract(epoch FROM now() - beaten_at)::float8 FROM heartbeats WHERE name = 'sweeper')
            AS heartbeat_age
    FROM
        (SELECT count(*) AS waiting, min(received_at) AS oldest FROM uploads WHERE status = 'received') r,
        (SELECT count(*) AS rejected FROM uploads WHERE status = 'rejected' AND payload IS NOT NULL) f,
        (SELECT count(*) AS dead FROM uploads WHERE status = 'dead' AND payload IS NOT NULL) d,
        (SELECT count(*) AS conflicts FROM upload_conflicts) c
""")

_BEAT = text("""
    INSERT INTO heartbeats (name, beaten_at) VALUES (:name, now())
    ON CONFLICT (name) DO UPDATE SET beaten_at = excluded.beaten_at
""")


class SystemState(NamedTuple):
    """Count the uploads that are not ingested; tell how long the oldest waits and the sweeper is silent.

    `oldest`: arrival of the longest waiting. Ages are in seconds, None where there is nothing to measure.
    What failed and is purged counts no more.
    """

    waiting: int
    oldest: datetime | None
    oldest_age: float | None
    rejected: int
    dead: int
    conflicts: int
    heartbeat_age: float | None


class Problem(StrEnum):
    """Name what is wrong with the whole, not with one upload."""

    UPLOADS_OVERDUE = "uploads_overdue"
    SWEEPER_SILENT = "sweeper_silent"
    BACKLOG = "backlog"


def look(connection: Connection) -> SystemState:
    """Count what waits, and what has failed and could be replayed."""
    (standing,) = execute(connection, _LOOK)
    return SystemState(*standing)


def problems(standing: SystemState, settings: Settings) -> frozenset[Problem]:
    """Judge how things stand."""
    overdue_after = settings.first_try_after + OVERDUE_AFTER_ENQUEUED * settings.enqueue_again_after
    silent_after = SILENT_AFTER_SWEEPS * settings.sweep_every
    judged = {
        Problem.UPLOADS_OVERDUE: (standing.oldest_age or 0) > overdue_after,
        Problem.SWEEPER_SILENT: standing.heartbeat_age is None or standing.heartbeat_age > silent_after,
        # More than the broker is given to hold: new uploads wait behind them.
        Problem.BACKLOG: standing.waiting > settings.queue_limit * MESSAGE_SIZE,
    }
    return frozenset(problem for problem, is_found in judged.items() if is_found)


def beat(connection: Connection, name: str) -> None:
    """Note that a process runs."""
    execute(connection, _BEAT, {"name": name})
