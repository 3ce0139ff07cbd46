"""A full disk under the logs and metrics of every process: each write to a file fails."""

import shutil
import subprocess
import time
from contextlib import suppress
from typing import Any

import psutil

from tests.chaos.fault import Fault
from tests.chaos.system import COMMANDS, System

FULL_S = 4.0


def limit_files(pid: int, size: str, **user: Any) -> None:
    """Let a process write that much to files; those that it starts inherit that."""
    command = ["prlimit", f"--pid={pid}", f"--fsize={size}:"]
    subprocess.run(command, check=True, **user)


def no_prlimit() -> str:
    """Say whether the program is missing."""
    return "" if shutil.which("prlimit") else "the program prlimit is not installed"


def _fill(system: System) -> None:
    """Let a child of the worker be replaced meanwhile: it finds no space for its metrics."""
    _limit_all(system, "0")
    for child in system.supervisor.children("worker")[:1]:
        system.kill(child)
    time.sleep(FULL_S)
    _limit_all(system, "unlimited")


def _limit_all(system: System, size: str) -> None:
    for name in COMMANDS:
        for process in [system.supervisor.leader(name), *system.supervisor.children(name)]:
            with suppress(psutil.NoSuchProcess, subprocess.CalledProcessError):  # it may be ending just now
                limit_files(process.pid, size)


DISK = Fault("disk full under logs and metrics", _fill, no_prlimit)
