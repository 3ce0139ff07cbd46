"""Count the starts of an upload, and set the time of the next start: in its row, never in the broker."""

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from shared.config import Settings
from shared.db import execute, scalar, scalars

# `finalized_at IS NULL` means the status `received`, by a constraint. With `status` in the condition,
# Postgres may search the index of all waiting uploads for this one.
_LOCK_IF_FREE = text("""
    SELECT tries FROM uploads WHERE client_session_uuid = :id AND finalized_at IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
""")

_COUNT = text("""
    UPDATE uploads SET tries = tries + 1 WHERE client_session_uuid = :id AND finalized_at IS NULL
""")

# Each upload of a group may kill the worker that starts the group. So a repeated upload is started in a group
# only if its `tries` is 0 or 1, and if a further try is left in which it can be started alone.
_COUNT_TOGETHER = text("""
    WITH fresh AS MATERIALIZED (
        SELECT client_session_uuid AS id FROM uploads
        WHERE client_session_uuid = ANY(CAST(:ids AS uuid[])) AND finalized_at IS NULL
            AND tries <= 1 AND tries + 1 < :max_tries
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE uploads SET tries = tries + 1 FROM fresh
    WHERE client_session_uuid = ANY(CAST(:ids AS uuid[])) AND client_session_uuid = fresh.id
    RETURNING fresh.id
""")

# Since the start was counted, an operator may have set the upload back, which sets `tries` to 0.
_TAKE_BACK = text("""
    WITH counted AS MATERIALIZED (
        SELECT client_session_uuid AS id FROM uploads
        WHERE client_session_uuid = ANY(CAST(:ids AS uuid[])) AND finalized_at IS NULL
        ORDER BY id FOR NO KEY UPDATE)
    UPDATE uploads SET tries = greatest(tries - 1, 0) FROM counted WHERE client_session_uuid = counted.id
""")

# The receiver of webhooks is informed, as perhaps no operator is watching.
_MARK_DEAD = text("""
    WITH dead AS (
        UPDATE uploads SET status = 'dead', finalized_at = now()
        WHERE client_session_uuid = :id AND finalized_at IS NULL AND tries >= :max_tries
        RETURNING client_session_uuid, tries
    ), noted AS (
        INSERT INTO upload_events (client_session_uuid, kind, detail)
        SELECT client_session_uuid, 'dead', tries || ' tries' FROM dead)
    INSERT INTO outbox (kind, client_session_uuid) SELECT 'upload.dead', client_session_uuid FROM dead
""")

# The wait before the next try of an upload or a webhook. It doubles with every try, up to a cap; half of it
# is random, so that uploads that failed together are not tried together.
BACKOFF = "make_interval(secs => least(:cap, :base * 2.0 ^ least(tries - 1, 32)) * (0.5 + random() / 2))"

_FAIL = text(f"""
    WITH failed AS (
        UPDATE uploads SET last_error = :error, next_try_at = now() + {BACKOFF}
        WHERE client_session_uuid = :id AND finalized_at IS NULL RETURNING client_session_uuid, last_error)
    INSERT INTO upload_events (client_session_uuid, kind, detail)
    SELECT client_session_uuid, 'failed', last_error FROM failed
""")  # noqa: S608  # made of the constant above

_POSTPONE = text("""
    UPDATE uploads SET tries = greatest(tries - :counted, 0), last_error = :error,
        next_try_at = now() + make_interval(secs => :wait)
    WHERE client_session_uuid = :id AND finalized_at IS NULL
""")

_HASTEN = text("""
    UPDATE uploads SET next_try_at = now() WHERE client_session_uuid IN (
        SELECT client_session_uuid FROM uploads
        WHERE status = 'received' AND next_try_at > now() + make_interval(secs => :longest)
        LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
""")

_ANY_OVERDUE = text("SELECT EXISTS (SELECT FROM uploads WHERE status = 'received' AND next_try_at <= now())")

# Materialized: a plan that ran the part with the limit more than once would claim more than the limit.
_CLAIM_OVERDUE = text("""
    WITH overdue AS MATERIALIZED (
        SELECT client_session_uuid AS id, next_try_at, tries FROM uploads
        WHERE status = 'received' AND next_try_at <= now()
        ORDER BY next_try_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE uploads SET next_try_at = now() + make_interval(secs => :again_after)
        FROM overdue WHERE client_session_uuid = overdue.id RETURNING overdue.*)
    SELECT id, tries FROM claimed ORDER BY next_try_at
""")


class Overdue(NamedTuple):
    """An upload that is due for a start, and how many starts were counted."""

    client_session_uuid: UUID
    tries: int


class StartResult(Enum):
    """What became of a start: it was counted, there was nothing to start, or the upload is dead now."""

    COUNTED = auto()
    NOTHING_TO_DO = auto()
    DEAD = auto()


def count_start(connection: Connection, client_session_uuid: UUID, *, max_tries: int) -> StartResult:
    """Count one more start, or mark the upload dead if its tries are exhausted.

    Nothing is started or counted if the upload is unknown or has a final status, or if another transaction,
    such as its replay, has locked its row.
    """
    row = execute(connection, _LOCK_IF_FREE, {"id": client_session_uuid}).fetchone()
    if row is None:
        return StartResult.NOTHING_TO_DO
    if row.tries >= max_tries:
        execute(connection, _MARK_DEAD, {"id": client_session_uuid, "max_tries": max_tries})
        return StartResult.DEAD
    execute(connection, _COUNT, {"id": client_session_uuid})
    return StartResult.COUNTED


def count_starts(
    connection: Connection, client_session_uuids: Sequence[UUID], *, max_tries: int
) -> list[UUID]:
    """Count a start of those uploads that are allowed to be replayed together; return only those uploads."""
    bound = {"ids": list(client_session_uuids), "max_tries": max_tries}
    return scalars(connection, _COUNT_TOGETHER, bound)


def take_back(connection: Connection, client_session_uuids: Sequence[UUID]) -> None:
    """Take back a counted start of each of these uploads."""
    execute(connection, _TAKE_BACK, {"ids": list(client_session_uuids)})


def fail(connection: Connection, client_session_uuid: UUID, error: str, settings: Settings) -> bool:
    """Record why a start failed and when the next start is due; return whether this makes the upload dead."""
    wait = {"base": settings.retry_base, "cap": settings.retry_cap}
    execute(connection, _FAIL, {"id": client_session_uuid, "error": error} | wait)
    dead = execute(connection, _MARK_DEAD, {"id": client_session_uuid, "max_tries": settings.max_tries})
    return bool(dead.rowcount)


def postpone(
    connection: Connection, client_session_uuid: UUID, error: str, *, counted: bool, wait: float
) -> None:
    """Record a transient fault and when the next try is due.

    `counted`: this start was counted as a try, which is subtracted again.
    """
    bound = {"id": client_session_uuid, "error": error, "counted": int(counted), "wait": wait}
    execute(connection, _POSTPONE, bound)


def hasten(connection: Connection, settings: Settings, *, limit: int) -> None:
    """Make at most `limit` uploads due now: those whose next try is further away than the longest wait.

    A next try can be so far away only if Postgres' clock went back, as after a fail-over.
    """
    waits = (
        settings.first_try_after,
        settings.enqueue_again_after,
        settings.retry_base,
        settings.retry_cap,
    )
    execute(connection, _HASTEN, {"longest": max(waits), "limit": limit})


def any_overdue(connection: Connection) -> bool:
    """Return whether any upload is overdue; if none is, the sweeper need not ask the broker anything."""
    return bool(scalar(connection, _ANY_OVERDUE))


def claim_overdue(connection: Connection, *, limit: int, again_after: float) -> list[Overdue]:
    """Claim up to `limit` overdue uploads, the longest overdue first.

    They are overdue again after `again_after` seconds.
    """
    rows = execute(connection, _CLAIM_OVERDUE, {"limit": limit, "again_after": again_after})
    return [Overdue(*row) for row in rows]


def split_into_messages(overdue: Sequence[Overdue], size: int) -> Iterator[list[UUID]]:
    """Split uploads into messages of up to `size`; an upload with several tries is alone in its message.

    Such an upload may kill its worker again, and any other uploads of its message would have to wait.
    """
    fresh = [upload for upload, tries in overdue if tries <= 1]
    for first in range(0, len(fresh), size):
        yield fresh[first : first + size]
    yield from ([upload] for upload, tries in overdue if tries > 1)
