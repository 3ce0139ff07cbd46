"""The learner's row: the lock under which progress changes, and the time zone of the study day."""

from collections.abc import Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from shared.statement import run

_LOCK = text("SELECT id FROM users WHERE id = :user_id FOR NO KEY UPDATE")
# Nobody where the questions have several owners: nothing of such an upload is written. What is locked is the
# newest row; who owns the questions was read before it, and the caller looks again.
_LOCK_OWNER = text("""
    SELECT id, coalesce(time_zone, :default_zone) FROM users WHERE id = (
        SELECT min(q.user_id) FROM published_items i JOIN study_questions q ON q.id = i.source_id
        WHERE i.pub_id = ANY(CAST(:pub_ids AS text[])) HAVING min(q.user_id) = max(q.user_id))
    FOR NO KEY UPDATE
""")
_ZONE = text("SELECT coalesce(time_zone, :default_zone) FROM users WHERE id = :user_id")


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner whose lock is held, and the time zone of his study day."""

    id: int
    zone: ZoneInfo


def lock_learner(connection: Connection, user_id: int) -> None:
    """Let nobody else change this learner's progress until the transaction ends.

    A statement of its own: what is read together with a lock may be older than the lock.
    """
    connection.execute(_LOCK, {"user_id": user_id})


def lock_owner(connection: Connection, pub_ids: Iterable[str], default_zone: str) -> Learner | None:
    """Lock the learner who owns all the known ones of these questions; None if there is no such one."""
    bound = {"pub_ids": list(pub_ids), "default_zone": default_zone}
    row = run(connection, _LOCK_OWNER, bound).fetchone()
    return None if row is None else Learner(row[0], ZoneInfo(row[1]))


def learner_zone(connection: Connection, user_id: int, default_zone: str) -> ZoneInfo:
    """Return the learner's time zone, or the default."""
    return ZoneInfo(
        connection.execute(_ZONE, {"user_id": user_id, "default_zone": default_zone}).scalar_one()
    )
