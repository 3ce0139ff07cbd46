"""How long a migration may wait for a lock, and run."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op

# Whoever waits for a table's lock makes every later query of that table wait behind it: give up soon.
LOCKING = "SET lock_timeout = '5s'; SET statement_timeout = '60s'"
# CONCURRENTLY waits for every older transaction but holds up nobody; cut short, it leaves an invalid index.
CONCURRENT = "SET lock_timeout = 0; SET statement_timeout = '1h'"


@contextmanager
def concurrently() -> Iterator[None]:
    """Run CONCURRENTLY statements: outside of a transaction, and with the time that they need."""
    with op.get_context().autocommit_block():
        op.execute(CONCURRENT)
        yield
        op.execute(LOCKING)
