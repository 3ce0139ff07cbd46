"""The rows of `study_followups`: asked for by finalize, claimed by lease, closed by the answer."""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, text

from shared.config import Settings


class Status(StrEnum):
    """Name where a follow-up stands; every one but `waiting` is final."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    DEAD = "dead"


_ASK = text("""
    INSERT INTO study_followups (study_quiz_session_id, kind)
    SELECT session_id, kind
    FROM unnest(CAST(:session_ids AS bigint[])) AS session_id
    CROSS JOIN unnest(ARRAY['explain_misses', 'weak_areas']) AS kind
    ON CONFLICT (study_quiz_session_id, kind) DO NOTHING
""")

# Materialized: a plan that ran the part with the limit more than once would take more than it says.
_CLAIM = text("""
    WITH due AS MATERIALIZED (
        SELECT id FROM study_followups WHERE status = 'waiting' AND next_try_at <= now()
        ORDER BY next_try_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE study_followups SET tries = tries + 1, next_try_at = now() + make_interval(secs => :lease)
    FROM due WHERE study_followups.id = due.id RETURNING due.id
""")

_BURY = text("""
    UPDATE study_followups SET status = 'dead', finished_at = now(),
        last_error = coalesce(last_error, 'every try was cut off')
    WHERE id IN (SELECT id FROM study_followups
        WHERE status = 'waiting' AND next_try_at <= now() AND tries >= :max_tries
        FOR NO KEY UPDATE SKIP LOCKED)
""")

_SKIP_ALL = text("""
    UPDATE study_followups SET status = 'skipped', finished_at = now(), last_error = :reason
    WHERE id IN (SELECT id FROM study_followups WHERE status = 'waiting' FOR NO KEY UPDATE SKIP LOCKED)
""")

_CLOSE = text("""
    UPDATE study_followups SET status = :status, finished_at = now(), last_error = :reason
    WHERE id = :id AND status = 'waiting'
""")

# Of a later try nothing is said: an answer that came after its lease must not shorten that of another.
_FAIL = text("""
    UPDATE study_followups SET last_error = :reason,
        status = CASE WHEN tries < :max_tries THEN 'waiting' ELSE 'dead' END,
        finished_at = CASE WHEN tries < :max_tries THEN NULL ELSE now() END,
        next_try_at = now() + make_interval(
            secs => least(:cap, :base * 2.0 ^ least(tries - 1, 32)) * (0.5 + random() / 2))
    WHERE id = :id AND status = 'waiting' AND tries = :tries
""")


def ask(connection: Connection, session_ids: Sequence[int]) -> None:
    """Ask for the follow-ups of finalized sessions, within the transaction that finalizes them."""
    connection.execute(_ASK, {"session_ids": session_ids})


def claim(connection: Connection, *, limit: int, lease: float, max_tries: int) -> list[UUID]:
    """Take up to `limit` follow-ups whose time has come, for `lease` seconds; each is counted as a try.

    One whose last try was cut off, as by a worker that was killed, is buried.
    """
    connection.execute(_BURY, {"max_tries": max_tries})
    return list(connection.execute(_CLAIM, {"limit": limit, "lease": lease}).scalars())


def skip_all(connection: Connection, reason: str) -> int:
    """Skip everything that waits; return how many that were."""
    return connection.execute(_SKIP_ALL, {"reason": reason}).rowcount


def close(connection: Connection, followup: UUID, status: Status, reason: str | None = None) -> None:
    """Give a waiting follow-up its final status; one that was skipped meanwhile stays so."""
    connection.execute(_CLOSE, {"id": followup, "status": status, "reason": reason})


def fail(connection: Connection, followup: UUID, tries: int, reason: str, settings: Settings) -> None:
    """Record why a try failed and when the next is due; after the last the follow-up is dead.

    The wait doubles with every try, up to a cap; half of it is chance, so that those that failed together do
    not come back together.
    """
    wait = {"base": settings.followup_retry_base, "cap": settings.followup_retry_cap}
    counted = {"tries": tries, "max_tries": settings.followup_max_tries}
    connection.execute(_FAIL, {"id": followup, "reason": reason} | wait | counted)
