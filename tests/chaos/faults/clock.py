"""A process whose clock is stepped while it runs."""

import signal
import tempfile
import time
from pathlib import Path

from tests.chaos.fault import Fault
from tests.chaos.faults.redis import wipe
from tests.chaos.system import COMMANDS, System
from tests.faults import faked_clock, frozen, no_faketime
from tests.processes import until

STEPS = ("+3600", "-3600", "+0")
RECEIVED = "SELECT client_session_uuid FROM uploads WHERE status = 'received'"
# Enough on a busy machine with a backlog; a sweeper that waited for its clock would take an hour.
SLOW_S = 180.0
# Several sweeps.
STEP_S = 1.0


def _step(system: System) -> None:
    """Start any one process again under a clock that a file moves, and move it."""
    name = system.rng.choice(list(COMMANDS))
    with tempfile.TemporaryDirectory() as directory:
        offset = Path(directory) / "offset"
        _set(offset, STEPS[-1])
        moved = {"FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
        system.start_again(name, signal.SIGKILL, faked_clock() | moved)
        for step in STEPS:
            _set(offset, step)
            time.sleep(STEP_S)
        _lose_messages(system)
        system.start_again(name, signal.SIGKILL, {})


def _lose_messages(system: System) -> None:
    """Delete every message; the sweeper must enqueue these uploads without waiting for its clock."""
    with frozen(system.supervisor.leader("worker").pid):
        time.sleep(STEP_S)
        wipe(system)
        lost = system.column(RECEIVED)
    until(lambda: not lost & system.column(RECEIVED), "uploads without a message are replayed", SLOW_S)


def _set(offset: Path, seconds: str) -> None:
    fresh = offset.with_suffix(".new")
    fresh.write_text(f"{seconds}\n")
    fresh.rename(offset)  # no process reads half a number


CLOCK = Fault("clock of a process stepped", _step, no_faketime)
