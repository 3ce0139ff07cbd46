"""The worker, weakened: two replays of one learner no longer wait for each other."""

from sqlalchemy import text

from shared.study import store
from worker.app import app

__all__ = ["app"]

store._LOCK = text(str(store._LOCK).replace("FOR NO KEY UPDATE", ""))  # noqa: SLF001  # the lock is the statement
