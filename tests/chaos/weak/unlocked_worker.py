"""The worker, weakened: two replays of one learner no longer wait for each other."""

from sqlalchemy import text

from shared.study import store
from worker.app import app

__all__ = ["app"]

for key, lock in store._LOCKS.items():  # noqa: SLF001  # the locks are statements
    store._LOCKS[key] = text(str(lock).partition(" FOR NO KEY UPDATE")[0])  # noqa: SLF001  # as above
