"""The rows of what is told to the receiver: claimed by lease, closed by the answer."""

from enum import StrEnum
from functools import cache
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from shared.config import Settings
from shared.followups.message import Message


class Outbox(StrEnum):
    """Name the tables that are told of: they are worked off alike."""

    FOLLOWUPS = "study_followups"
    NOTICES = "upload_notices"


class Status(StrEnum):
    """Name where a follow-up stands; every one but `waiting` is final."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    DEAD = "dead"


# Materialized: a plan that ran the part with the limit more than once would take more than it says.
_CLAIM = """
    WITH due AS MATERIALIZED (
        SELECT id FROM OUTBOX WHERE status = 'waiting' AND next_try_at <= now()
        ORDER BY next_try_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE OUTBOX SET tries = tries + 1, next_try_at = now() + make_interval(secs => :lease)
    FROM due WHERE OUTBOX.id = due.id RETURNING due.id
"""

_BURY = """
    UPDATE OUTBOX SET status = 'dead', finished_at = now(),
        last_error = coalesce(last_error, 'every try was cut off')
    WHERE id IN (SELECT id FROM OUTBOX
        WHERE status = 'waiting' AND next_try_at <= now() AND tries >= :max_tries
        FOR NO KEY UPDATE SKIP LOCKED)
"""

_SKIP_ALL = """
    UPDATE OUTBOX SET status = 'skipped', finished_at = now(), last_error = :reason
    WHERE id IN (SELECT id FROM OUTBOX WHERE status = 'waiting' FOR NO KEY UPDATE SKIP LOCKED)
"""

_CLOSE = """
    UPDATE OUTBOX SET status = :status, finished_at = now(), last_error = :reason
    WHERE id = :id AND status = 'waiting'
"""

# Of a later try nothing is said: an answer that came after its lease must not shorten that of another.
_FAIL = """
    UPDATE OUTBOX SET last_error = :reason,
        status = CASE WHEN tries < :max_tries THEN 'waiting' ELSE 'dead' END,
        finished_at = CASE WHEN tries < :max_tries THEN NULL ELSE now() END,
        next_try_at = now() + make_interval(
            secs => least(:cap, :base * 2.0 ^ least(tries - 1, 32)) * (0.5 + random() / 2))
    WHERE id = :id AND status = 'waiting' AND tries = :tries
"""


@cache
def _of(statement: str, outbox: Outbox) -> TextClause:
    return text(statement.replace("OUTBOX", outbox))


def claim(connection: Connection, outbox: Outbox, *, limit: int, lease: float, max_tries: int) -> list[UUID]:
    """Take up to `limit` follow-ups whose time has come, for `lease` seconds; each is counted as a try.

    One whose last try was cut off, as by a worker that was killed, is buried.
    """
    connection.execute(_of(_BURY, outbox), {"max_tries": max_tries})
    return list(connection.execute(_of(_CLAIM, outbox), {"limit": limit, "lease": lease}).scalars())


def skip_all(connection: Connection, outbox: Outbox, reason: str) -> int:
    """Skip everything that waits; return how many that were."""
    return connection.execute(_of(_SKIP_ALL, outbox), {"reason": reason}).rowcount


def close(
    connection: Connection, outbox: Outbox, followup: UUID, status: Status, reason: str | None = None
) -> None:
    """Give a waiting follow-up its final status; one that was skipped meanwhile stays so."""
    connection.execute(_of(_CLOSE, outbox), {"id": followup, "status": status, "reason": reason})


def fail(connection: Connection, outbox: Outbox, message: Message, reason: str, settings: Settings) -> None:
    """Record why a try failed and when the next is due; after the last the follow-up is dead.

    The wait doubles with every try, up to a cap; half of it is chance, so that those that failed together do
    not come back together.
    """
    wait = {"base": settings.followup_retry_base, "cap": settings.followup_retry_cap}
    counted = {"tries": message.tries, "max_tries": settings.followup_max_tries}
    connection.execute(_of(_FAIL, outbox), {"id": message.id, "reason": reason} | wait | counted)
