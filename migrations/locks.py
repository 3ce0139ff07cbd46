"""The locks of a migration: one deploy at a time, and no long wait of queries behind a table's lock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from sqlalchemy import Engine, func, select

from shared.errors import MigrationError

KEY = 0x73747564795F696E  # "study_in": any number that no other program locks in this database
WAIT = 600.0  # seconds; longer than any migration of ours
POLL = 0.2  # seconds


@contextmanager
def deploy_lock(engine: Engine, wait: float = WAIT) -> Iterator[None]:
    """Hold the database's advisory lock; wait for it at most `wait` seconds.

    The lock is polled, on a connection of its own: a session that waits inside `pg_advisory_lock` keeps a
    snapshot, and the other deploy's CREATE INDEX CONCURRENTLY would wait for that snapshot to end.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        deadline = time.monotonic() + wait
        while not connection.scalar(select(func.pg_try_advisory_lock(KEY))):
            if time.monotonic() > deadline:
                raise MigrationError(f"another deploy is still migrating this database after {wait:g} s")
            time.sleep(POLL)
        try:
            yield
        finally:
            connection.scalar(select(func.pg_advisory_unlock(KEY)))


# A statement that waits for a lock makes every later query of that table wait behind it: give up soon.
LOCKING = "SET lock_timeout = '5s'; SET statement_timeout = '60s'"
# CONCURRENTLY waits for every older transaction but blocks none; if interrupted, it leaves an invalid index.
CONCURRENT = "SET lock_timeout = 0; SET statement_timeout = '1h'"


@contextmanager
def concurrently() -> Iterator[None]:
    """Run CONCURRENTLY statements: outside of a transaction, and with the time that they need."""
    with op.get_context().autocommit_block():
        op.execute(CONCURRENT)
        yield
        op.execute(LOCKING)
