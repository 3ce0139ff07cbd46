"""A sign of life: when a periodic task last began. One that beat no longer sends grows old."""

from sqlalchemy import Connection, text

# Both by Postgres' clock, so that hosts which disagree about the time do not matter.
_BEAT = text("""
    INSERT INTO heartbeats (name, beaten_at) VALUES (:name, now())
    ON CONFLICT (name) DO UPDATE SET beaten_at = excluded.beaten_at
""")
_AGE = text("SELECT extract(epoch FROM now() - beaten_at)::float8 FROM heartbeats WHERE name = :name")


def beat(connection: Connection, name: str) -> None:
    """Note that a task begins."""
    connection.execute(_BEAT, {"name": name})


def age(connection: Connection, name: str) -> float | None:
    """Return the seconds since a task last began; None if it never did."""
    seconds: float | None = connection.scalar(_AGE, {"name": name})
    return seconds
