"""A sign of life: when a periodic task last began. One that beat no longer sends grows old."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from shared.db import execute, scalar

# Each part is answered from a partial index: what went well is not looked at. What is purged is at rest: no
# operator can do anything about it.
_STANDING = text("""
    SELECT waiting, oldest, rejected, dead, conflicts FROM
        (SELECT count(*) AS waiting, min(received_at) AS oldest FROM uploads WHERE status = 'received') r,
        (SELECT count(*) AS rejected FROM uploads WHERE status = 'rejected' AND payload IS NOT NULL) f,
        (SELECT count(*) AS dead FROM uploads WHERE status = 'dead' AND payload IS NOT NULL) d,
        (SELECT count(*) AS conflicts FROM upload_conflicts) c
""")


class Standing(NamedTuple):
    """Count the uploads of each state that is not the best one; `oldest`: arrival of the longest waiting.

    What failed and is purged counts no more.
    """

    waiting: int
    oldest: datetime | None
    rejected: int
    dead: int
    conflicts: int


def standing(connection: Connection) -> Standing:
    """Count what waits, and what has failed and could be replayed."""
    (counts,) = execute(connection, _STANDING)
    return Standing(*counts)


# Both by Postgres' clock, so that hosts which disagree about the time do not matter.
_BEAT = text("""
    INSERT INTO heartbeats (name, beaten_at) VALUES (:name, now())
    ON CONFLICT (name) DO UPDATE SET beaten_at = excluded.beaten_at
""")
_AGE = text("SELECT extract(epoch FROM now() - beaten_at)::float8 FROM heartbeats WHERE name = :name")


def beat(connection: Connection, name: str) -> None:
    """Note that a task begins."""
    execute(connection, _BEAT, {"name": name})


def age(connection: Connection, name: str) -> float | None:
    """Return the seconds since a task last began; None if it never did."""
    seconds: float | None = scalar(connection, _AGE, {"name": name})
    return seconds
