"""A process whose clock is stepped while it runs."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from tests.chaos.fault import Fault
from tests.chaos.faults.redis import wipe
from tests.chaos.system import COMMANDS, System
from tests.faults import frozen
from tests.processes import until

FAKED = Path(__file__).resolve().parent.parent / "faked"
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
        system.start_again(name, signal.SIGKILL, _faked(offset))
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


@cache
def _library() -> str:
    """Ask faketime once where its library is: files of a killed process with the same pid make it fail."""
    ask = [str(shutil.which("faketime")), "-m", "now", "printenv", "LD_PRELOAD"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()


def _faked(offset: Path) -> dict[str, str]:
    """Return the environment of a process whose clock a file moves; the monotonic one never steps."""
    return {
        "LD_PRELOAD": _library(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(FAKED),
    }


def _no_faketime() -> str:
    if sys.platform != "linux":
        return "only written for Linux"
    return "" if shutil.which("faketime") else "the program faketime is not installed"


CLOCK = Fault("clock of a process stepped", _step, _no_faketime)
