"""Processes that are killed, stopped by a signal, or frozen."""

import math
import signal
import time
from contextlib import suppress

import psutil

from cli.local.supervisor import wait_until
from tests.chaos.fault import Fault
from tests.chaos.system import COMMANDS, System
from tests.faults import frozen

# If no transaction is open within this time, idle children are killed.
BUSY_S = 1.0
PATIENCE_S = 10.0
# Long enough for a learner's uploads to wait together: then their replays meet.
FREEZE_S = 3.0
OPEN = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database()
    AND xact_start IS NOT NULL AND application_name = 'study-ingest' AND query LIKE '%study_q%'
"""


class ChildKiller:
    """Kill some children of the worker while all are suspended and one has a replay's transaction open.

    The backend of a killed child stays busy a little longer, so it is not counted again.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, system: System) -> None:
        """Wait for a transaction, `BUSY_S` at most, then kill."""
        wait_until(lambda: bool(system.supervisor.children("worker")), PATIENCE_S)
        wait_until(lambda: self._suspend_in_transaction(system), BUSY_S)
        children = system.supervisor.children("worker")
        for child in system.rng.sample(children, math.ceil(system.rng.random() * len(children))):
            system.kill(child)
        _each(children, "resume")

    def _suspend_in_transaction(self, system: System) -> bool:
        children = system.supervisor.children("worker")
        _each(children, "suspend")
        replaying = system.column(OPEN) - self._seen
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
    def inject(system: System) -> None:
        system.supervisor.end(name, signal.SIGKILL)
        system.kills += 1

    return Fault(f"{name} killed", inject)


def _stop(name: str) -> Fault:
    return Fault(f"{name} stopped", lambda system: system.supervisor.end(name, signal.SIGTERM))


def _freeze_worker(system: System) -> None:
    with frozen(system.supervisor.leader("worker").pid):
        time.sleep(FREEZE_S)


CHILD_KILLED = Fault("worker child killed", ChildKiller())
ENDINGS = [*map(_kill, COMMANDS), *map(_stop, COMMANDS), Fault("worker frozen", _freeze_worker)]
