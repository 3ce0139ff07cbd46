"""What an idle `up` weighs: memory and CPU of each of its processes."""

import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.figures import Figure
from benchmarks.servers import PROCFILE, Stores

SETTLING_S, QUICK_SETTLING_S = 30.0, 10.0  # what a start leaves behind is no part of idling
SECONDS, QUICK_SECONDS = 60.0, 10.0
STOP_S = 60.0
MEBIBYTE = 2**20


def measure(_: Stores, *, quick: bool) -> list[Figure]:
    """Start `study-ingest up` in a directory of its own, and leave it without uploads.

    Memory is Pss (Linux): what processes share is divided among them, so that sums count nothing twice. The
    result is too small if other programs of the project run at the same time: they share the libraries.
    """
    with tempfile.TemporaryDirectory(prefix="study-ingest-idle-") as directory:
        Path(directory).chmod(
            0o711
        )  # if root starts the servers, they run as another user, who must be able to enter
        program = str(Path(sys.executable).with_name("study-ingest"))
        command = [program, "up", "--port", "0", "--data-dir", f"{directory}/data"]
        # Its output goes to a pipe that is read until `ready`: idle processes do not fill the pipe.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:  # noqa: S603  # our own program
            try:
                while up.stdout and not (line := up.stdout.readline()).startswith("ready "):
                    if not line:
                        raise ChildProcessError("`study-ingest up` ended before it was ready")
                time.sleep(QUICK_SETTLING_S if quick else SETTLING_S)
                return _weigh(psutil.Process(up.pid), QUICK_SECONDS if quick else SECONDS)
            finally:
                up.terminate()
                up.wait(STOP_S)


def _weigh(supervisor: psutil.Process, seconds: float) -> list[Figure]:
    """Return the Pss and the share of a core of the supervisor and of all that it has started."""
    roles = {supervisor: "supervisor"}
    for child in supervisor.children():
        roles |= dict.fromkeys((child, *child.children(recursive=True)), _role(child))
    before = {process: sum(process.cpu_times()[:2]) for process in roles}  # user and system
    time.sleep(seconds)
    memory: defaultdict[str, float] = defaultdict(float)
    cpu: defaultdict[str, float] = defaultdict(float)
    for process, role in roles.items():
        with suppress(psutil.NoSuchProcess):  # Postgres ends workers of its own
            memory[role] += process.memory_full_info().pss / MEBIBYTE
            cpu[role] += sum(process.cpu_times()[:2]) - before[process]
    percent = {role: 100 * cpu[role] / seconds for role in memory}
    return [
        Figure("idle", "memory of an idle `up`", (sum(memory.values()),), "MiB", "≤ 400"),
        *(Figure(f"idle {role}", f"memory of {role}", (memory[role],), "MiB") for role in memory),
        Figure("idle CPU", "CPU of an idle `up`, of one core", (sum(percent.values()),), "%", "≤ 1"),
        *(Figure(f"idle CPU {role}", f"CPU of {role}", (percent[role],), "%") for role in memory),
    ]


def _role(process: psutil.Process) -> str:
    """Name a process as the Procfile does, and a server by its program."""
    command = " ".join(process.cmdline())
    for name, line in PROCFILE.items():
        if re.sub(r"^(env (\S+=\S* )*)?\S+ ", "", line) in command:
            return name
    return str(process.name())
