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
from tests.chaos.ground import SOUND, Ground
from tests.faults import frozen
from tests.processes import until

FAKED = Path(__file__).resolve().parent.parent / "faked"
STEPS = ("+3600", "-3600", "+0")
RECEIVED = "SELECT client_session_uuid FROM uploads WHERE status = 'received'"
# Behind a backlog, and on a machine that has other work; a sweeper that waits for the hour takes longer.
SLOW_S = 180.0
# Several sweeps.
STEP_S = 1.0


def _step(ground: Ground) -> None:
    """Start any one process again under a clock that a file moves, and move it."""
    name = ground.chance.choice(list(SOUND))
    with tempfile.TemporaryDirectory() as directory:
        offset = Path(directory) / "offset"
        _set(offset, STEPS[-1])
        _start_anew(ground, name, _faked(offset))
        for step in STEPS:
            _set(offset, step)
            time.sleep(STEP_S)
        _lose_rings(ground)
        _start_anew(ground, name, {})


def _lose_rings(ground: Ground) -> None:
    """See that nobody waits for the clock to catch up: what is not enqueued is swept as usual."""
    with frozen(ground.keeper.leader("worker").pid):
        time.sleep(STEP_S)
        wipe(ground)
        unrung = ground.column(RECEIVED)
    late = "uploads are swept although a clock was put back"
    until(lambda: not unrung & ground.column(RECEIVED), late, SLOW_S)


def _start_anew(ground: Ground, name: str, environment: dict[str, str]) -> None:
    said = len(ground.keeper.output(name))
    ground.keeper.environment[name] = environment
    ground.keeper.end(name, signal.SIGKILL)
    ground.kills += 1
    until(lambda: len(ground.keeper.output(name)) > said, f"{name} says that it has started")


def _set(offset: Path, seconds: str) -> None:
    fresh = offset.with_suffix(".new")
    fresh.write_text(f"{seconds}\n")
    fresh.rename(offset)  # no process reads half a number


@cache
def _library() -> str:
    """Ask the program where its library is, once: it trips over what a killed process of its own pid left."""
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
