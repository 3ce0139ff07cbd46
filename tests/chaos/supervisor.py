"""Keep processes running: each that ends is started again."""

import shlex
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

import psutil

from cli.local.pdeathsig import tied
from tests.processes import Processes, until

LOOK_S = 0.05


class Supervisor:
    """Run commands by name for the length of a `with`, from one thread.

    `environment`: what a process gets beside the settings when it is started next.
    """

    def __init__(self, processes: Processes, commands: Mapping[str, str]) -> None:
        self.commands = commands
        self.environment: dict[str, dict[str, str]] = defaultdict(dict)
        self._processes = processes
        self._orphans: list[psutil.Process] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="supervisor")

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: len(self._processes.running) == len(self.commands), "every process is started")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._processes.running.clear()  # `_end_all` has ended them and their children

    def leader(self, name: str) -> psutil.Process:
        """Return the running process of that name."""
        while True:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(self._processes.running[name].pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    return process
            time.sleep(LOOK_S)

    def children(self, name: str) -> list[psutil.Process]:
        """Return what a process has started: none while it is itself being started."""
        try:
            return self.leader(name).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def output(self, name: str) -> str:
        """Return what the processes of that name have written."""
        return self._processes.output(name)

    def end(self, name: str, how: signal.Signals) -> None:
        """Send a signal to a process, not to its children, and wait until another runs in its place."""
        process = self.leader(name)
        self._orphans += self.children(name)
        process.send_signal(how)
        until(lambda: self.leader(name) != process, f"{name} has ended and was started again")

    def _keep(self) -> None:
        while not self._over.wait(LOOK_S):
            for name, command in self.commands.items():
                process = self._processes.running.get(name)
                if process is None or process.poll() is not None:
                    self._start(name, command)
        self._end_all()

    def _start(self, name: str, command: str) -> None:
        until_ours_ends = shlex.join(tied(["/bin/sh", "-c", f"exec {command}"], signal.SIGKILL))
        self._processes.start(name, until_ours_ends, **self.environment[name])

    def _end_all(self) -> None:
        for process in self._processes.running.values():
            with suppress(psutil.NoSuchProcess):
                self._orphans += psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
        for orphan in self._orphans:
            with suppress(psutil.NoSuchProcess):  # also if its pid was given away since
                orphan.kill()
