"""Processes that are killed, stopped by a signal, or frozen."""

import math
import signal
import time
from contextlib import suppress

import psutil

from cli.local.supervisor import wait_until
from tests.chaos.fault import Fault
from tests.chaos.ground import SOUND, Ground
from tests.faults import frozen

# Without load in that time, a child is killed that is idle.
BUSY_S = 1.0
PATIENCE_S = 10.0
# Long enough for a learner's uploads to wait together: then their replays meet.
FREEZE_S = 3.0
OPEN = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database()
    AND xact_start IS NOT NULL AND application_name = 'study-ingest' AND query LIKE '%study_q%'
"""


class ChildKiller:
    """Kill some children of the worker, all held at a moment at which a replay is in its transaction.

    The backend of one that was killed is busy a little longer: it is no sign of another's transaction.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, ground: Ground) -> None:
        """Wait for a transaction, for a while, and strike."""
        wait_until(lambda: bool(ground.keeper.children("worker")), PATIENCE_S)
        wait_until(lambda: self._hold_in_transaction(ground), BUSY_S)
        children = ground.keeper.children("worker")
        for child in ground.chance.sample(children, math.ceil(ground.chance.random() * len(children))):
            ground.kill(child)
        _each(children, "resume")

    def _hold_in_transaction(self, ground: Ground) -> bool:
        children = ground.keeper.children("worker")
        _each(children, "suspend")
        replaying = ground.column(OPEN) - self._seen
        if children and replaying:
            self._seen |= replaying
            return True
        _each(children, "resume")
        return False


def _each(processes: list[psutil.Process], do: str) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            getattr(process, do)()


def _kill(name: str) -> Fault:
    def strike(ground: Ground) -> None:
        ground.keeper.end(name, signal.SIGKILL)
        ground.kills += 1

    return Fault(f"{name} killed", strike)


def _stop(name: str) -> Fault:
    return Fault(f"{name} told to stop", lambda ground: ground.keeper.end(name, signal.SIGTERM))


def _freeze_worker(ground: Ground) -> None:
    with frozen(ground.keeper.leader("worker").pid):
        time.sleep(FREEZE_S)


CHILD_KILLED = Fault("worker child killed", ChildKiller())
ENDINGS = [*map(_kill, SOUND), *map(_stop, SOUND), Fault("worker frozen", _freeze_worker)]
