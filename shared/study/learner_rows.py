"""The learner's row: the lock under which progress changes, and the time zone of the study day."""

from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

_LOCK = text("SELECT id FROM users WHERE id = :user_id FOR NO KEY UPDATE")
_ZONE = text("SELECT coalesce(time_zone, :default_zone) FROM users WHERE id = :user_id")


def lock_learner(connection: Connection, user_id: int) -> None:
    """Let nobody else change this learner's progress until the transaction ends.

    A statement of its own: what is read together with a lock may be older than the lock.
    """
    connection.execute(_LOCK, {"user_id": user_id})


def learner_zone(connection: Connection, user_id: int, default_zone: str) -> ZoneInfo:
    """Return the learner's time zone, or the default."""
    return ZoneInfo(
        connection.execute(_ZONE, {"user_id": user_id, "default_zone": default_zone}).scalar_one()
    )
