"""Run several commands side by side: all of them, or none."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NoReturn, Self

import click

from cli.local.pdeathsig import tied
from shared.errors import StudyIngestError

Output = Callable[[str], BinaryIO]  # opens what a process of this name writes to
COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red")
DRAIN_SECONDS = 1.0  # to read the rest of an ended process' pipe, which a grandchild may keep open
PAUSE_SECONDS = 0.02  # short beside the 50 ms that a server needs to start
GRACE_SECONDS = 20.0  # more than the 10 s that a worker gives its running tasks
CHECK_SECONDS = 1.0  # often enough to notice an end, rarely enough for an idle system


class ProcessEndedError(StudyIngestError):
    """A process has ended that should keep running."""


class Supervisor:
    """Keep shell commands running for the length of a `with`, then stop them.

    Each is the leader of a process group of its own. Only leaders get the signal to stop: a worker then ends
    its running tasks, which a signal to the group would cut off. On Linux, the leaders end with a supervisor
    that is killed.
    """

    def __init__(
        self,
        commands: Mapping[str, str],
        output: Output,
        environment: Mapping[str, str],
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.commands, self.output, self.environment, self.grace = commands, output, environment, grace
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            for name, command in self.commands.items():
                with self.output(name) as output:
                    self._processes[name] = subprocess.Popen(  # noqa: S603  # a Procfile is written for a shell
                        tied(["/bin/sh", "-c", f"exec {command}"], signal.SIGKILL),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        env=dict(self.environment),
                        start_new_session=True,  # Ctrl-C reaches the supervisor alone
                    )
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Raise ProcessEndedError where a process has ended."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None:
                how = (
                    f"was killed by {signal.Signals(-code).name}"
                    if code < 0
                    else f"ended with exit code {code}"
                )
                raise ProcessEndedError(f"{name} {how}")

    def wait(self) -> NoReturn:
        """Wait until a process ends, and raise ProcessEndedError."""
        while True:
            self.check()
            time.sleep(CHECK_SECONDS)

    def stop(self) -> None:
        """Stop every process; kill the rest after the grace period, or at a second Ctrl-C."""
        processes = self._processes.values()
        for process in processes:
            process.terminate()
        try:
            wait_until(lambda: all(process.poll() is not None for process in processes), self.grace)
        finally:
            for process in processes:
                with suppress(ProcessLookupError, PermissionError):  # macOS: the latter for an ended group
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_until(done: Callable[[], bool], seconds: float, *, pause: float = PAUSE_SECONDS) -> bool:
    """Call `done` until it returns True or the seconds are over; return which."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def to_files(directory: Path) -> Output:
    """Append the output of each process to a log of its own."""
    directory.mkdir(mode=0o700, exist_ok=True)
    return lambda name: (directory / f"{name}.log").open("ab")


@contextmanager
def to_terminal() -> Iterator[Output]:
    """Print the lines of all processes, each after its process's name."""
    threads: list[threading.Thread] = []
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def open_pipe(name: str) -> BinaryIO:
        reading, writing = os.pipe()
        prefix = f"{name:<8} | "
        if coloured:
            prefix = click.style(prefix, fg=COLOURS[len(threads) % len(COLOURS)])
        thread = threading.Thread(target=_print_lines, args=(prefix, os.fdopen(reading, "rb")), daemon=True)
        threads.append(thread)
        thread.start()
        return os.fdopen(writing, "wb")

    try:
        yield open_pipe
    finally:
        for thread in threads:
            thread.join(DRAIN_SECONDS)


def _print_lines(prefix: str, pipe: BinaryIO) -> None:
    with pipe:
        for line in pipe:
            with suppress(BrokenPipeError):  # the processes continue, although nobody reads their output
                click.echo(prefix + line.decode(errors="replace").rstrip())
