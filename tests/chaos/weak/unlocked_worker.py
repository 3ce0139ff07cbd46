"""The worker, weakened: two replays of one learner no longer wait for each other."""

from sqlalchemy import text

from shared.study import store
from worker.app import app

__all__ = ["app"]

store._LOCK_OWNERS = text(str(store._LOCK_OWNERS).replace("FOR NO KEY UPDATE", ""))  # noqa: SLF001
