"""A process whose clock is stepped while it runs."""

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.chaos.fault import Fault
from tests.chaos.ground import SOUND, Ground

STEPS = ("+3600", "-3600", "+0")
# Several sweeps.
STEP_S = 1.0


def _step(ground: Ground) -> None:
    """Start any one process anew under a clock that a file moves, and move it."""
    name = ground.chance.choice(list(SOUND))
    with tempfile.TemporaryDirectory() as directory:
        offset = Path(directory) / "offset"
        _set(offset, "+0")
        _start_anew(ground, name, _faked(offset))
        ground.recover()
        for step in STEPS:
            _set(offset, step)
            time.sleep(STEP_S)
        ground.recover()
        _start_anew(ground, name, {})


def _start_anew(ground: Ground, name: str, environment: dict[str, str]) -> None:
    ground.keeper.environment[name] = environment
    ground.keeper.end(name, signal.SIGKILL)
    ground.kills += 1


def _set(offset: Path, seconds: str) -> None:
    fresh = offset.with_suffix(".new")
    fresh.write_text(f"{seconds}\n")
    fresh.rename(offset)  # no process reads half a number


def _faked(offset: Path) -> dict[str, str]:
    """Return the environment of a process whose clock a file moves; the monotonic one never steps."""
    ask = [str(shutil.which("faketime")), "-m", "now", "printenv", "LD_PRELOAD"]
    library = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _no_faketime() -> str:
    return "" if shutil.which("faketime") else "the program faketime is not installed"


CLOCK = Fault("clock of a process stepped", _step, _no_faketime)
