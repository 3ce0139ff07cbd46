"""The worker, weakened: two replays of one learner no longer wait for each other."""

from sqlalchemy import text

from shared.study import learner_rows
from worker.app import app

__all__ = ["app"]

learner_rows._LOCK_OWNER = text(str(learner_rows._LOCK_OWNER).replace("FOR NO KEY UPDATE", ""))  # noqa: SLF001  # the lock is the statement
