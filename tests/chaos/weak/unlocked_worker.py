"""The worker, weakened: two replays of one learner no longer wait for each other."""

import shared.replay
from worker.app import app

__all__ = ["app"]

shared.replay.lock_learner = lambda *_: None
