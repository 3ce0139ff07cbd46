"""The state of the system, judged in one place: `/ops`, `doctor` and the alerts share its thresholds.

Ages are by Postgres' clock, whatever the clocks of the hosts say.
"""

import os
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, text

from shared.broker import MESSAGE_SIZE
from shared.config import Settings
from shared.db import execute

SWEEPER = "sweeper"
# The problem `uploads_overdue` begins when the sweeper has had time to enqueue an upload again this many
# times. Shorter waits are normal for the last upload of a backlog.
OVERDUE_AFTER_ENQUEUED = 10
# By default a minute: a sweep or a restart may take some time.
SILENT_AFTER_SWEEPS = 12

# Network disks are left out: while the server of such a disk is away, a call never returns.
LOCAL_DISKS = ("btrfs", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")
# A disk with a smaller share of free space counts as full.
FREE_SHARE = 0.001

# Each count of uploads reads a partial index without the ingested ones. What is purged, upload or conflict,
# is not counted: no operator can do anything about it. Once a conflict is accepted, the earlier ones of the
# same upload are not counted either.
_READ_STATE = text("""
    SELECT waiting, oldest, extract(epoch FROM now() - oldest)::float8 AS oldest_age,
        rejected, dead, conflicts,
        (SELECT extract(epoch FROM now() - beaten_at)::float8 FROM heartbeats WHERE name = 'sweeper')
            AS heartbeat_age,
        webhooks, oldest_webhook_age
    FROM
        (SELECT count(*) AS waiting, min(waiting_since) AS oldest FROM uploads WHERE status = 'received') r,
        (SELECT count(*) AS rejected FROM uploads WHERE status = 'rejected' AND payload IS NOT NULL) f,
        (SELECT count(*) AS dead FROM uploads WHERE status = 'dead' AND payload IS NOT NULL) d,
        (SELECT count(*) AS conflicts FROM upload_conflicts other WHERE payload IS NOT NULL
            AND NOT EXISTS (SELECT FROM upload_events e WHERE e.kind = 'accepted'
                AND e.client_session_uuid = other.client_session_uuid AND e.at >= other.received_at)) c,
        (SELECT count(*) AS webhooks, extract(epoch FROM
                now() - min(CASE WHEN tries = 0 THEN next_try_at ELSE created_at END))::float8
                AS oldest_webhook_age
            FROM outbox WHERE status = 'waiting') w
""")

_BEAT = text("""
    INSERT INTO heartbeats (name, beaten_at) VALUES (:name, now())
    ON CONFLICT (name) DO UPDATE SET beaten_at = excluded.beaten_at
""")


class SystemState(NamedTuple):
    """The numbers of waiting uploads and webhooks, failed uploads and undecided conflicts, and some ages.

    `oldest`: since when the longest waiting upload can be replayed. `heartbeat_age`: time since the
    sweeper's last heartbeat. Ages are in seconds; an age is None if no upload or webhook waits, or if there
    was no heartbeat. Purged uploads are not counted.
    """

    waiting: int
    oldest: datetime | None
    oldest_age: float | None
    rejected: int
    dead: int
    conflicts: int
    heartbeat_age: float | None
    webhooks: int = 0
    oldest_webhook_age: float | None = None


class Problem(StrEnum):
    """A problem of the whole system, not of one upload."""

    UPLOADS_OVERDUE = "uploads_overdue"
    SWEEPER_SILENT = "sweeper_silent"
    BACKLOG = "backlog"
    DISK_FULL = "disk_full"


def read_state(connection: Connection) -> SystemState:
    """Read the state of the system; of failed uploads, only those that can be replayed are counted."""
    (state,) = execute(connection, _READ_STATE)
    return SystemState(*state)


def problems(state: SystemState, settings: Settings) -> frozenset[Problem]:
    """Judge a state of the system, and the disks of this host, by the thresholds."""
    overdue_after = settings.first_try_after + OVERDUE_AFTER_ENQUEUED * settings.enqueue_again_after
    silent_after = SILENT_AFTER_SWEEPS * settings.sweep_every
    judged = {
        Problem.UPLOADS_OVERDUE: (state.oldest_age or 0) > overdue_after,
        Problem.SWEEPER_SILENT: state.heartbeat_age is None or state.heartbeat_age > silent_after,
        Problem.DISK_FULL: bool(full_disks()),
        # More uploads wait than the queue may hold: a new upload waits until they are enqueued.
        Problem.BACKLOG: state.waiting > settings.queue_limit * MESSAGE_SIZE,
    }
    return frozenset(problem for problem, is_found in judged.items() if is_found)


def full_disks() -> list[str]:
    """List the mount points of this host's full local disks; none without /proc/mounts."""
    try:
        mounts = [line.split()[1:4] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return []
    full = set()
    for where, kind, options in mounts:
        if kind in LOCAL_DISKS and "rw" in options.split(","):
            with suppress(OSError):  # a directory that we may not read
                disk = os.statvfs(where)
                if disk.f_bavail < disk.f_blocks * FREE_SHARE:
                    full.add(where)
    return sorted(full)


def beat(connection: Connection, name: str) -> None:
    """Write the heartbeat of a process."""
    execute(connection, _BEAT, {"name": name})
