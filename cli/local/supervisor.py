"""Run several commands side by side, and start again what ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn, Self

import click

from cli.local.pdeathsig import tied
from shared.errors import StudyIngestError

Output = Callable[[str], BinaryIO]  # opens the file that the process of this name writes to
COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red")
DRAIN_SECONDS = 1.0  # to read the rest of an ended process' pipe, which a grandchild may keep open
PAUSE_SECONDS = 0.02  # short compared with the 50 ms that a server needs to start
GRACE_SECONDS = 20.0  # more than the 10 s that a worker gives its running tasks
CHECK_SECONDS = 1.0  # often enough to notice an end, rarely enough for an idle system
BRIEF_SECONDS = 10.0  # if a process ends within this time, its start counts as failed
LONGEST_PAUSE_SECONDS = 30.0
MAX_FAILURES = 8  # failed starts in a row before we give up, after about two minutes


class ProcessEndedError(StudyIngestError):
    """A process that should keep running has ended."""


class Restarts:
    """Start a process again when it ends; if it ends soon after each start, wait before the next start.

    The wait doubles each time, up to LONGEST_PAUSE_SECONDS. `poll` returns the process' exit code, or None
    while it runs; `start` may raise a StudyIngestError.
    """

    def __init__(self, name: str, poll: Callable[[], int | None], start: Callable[[], None]) -> None:
        self._name, self._poll, self._start = name, poll, start
        self._started_at: float | None = None
        self._failures = 0
        self._due: float | None = None

    def look(self, now: float) -> None:
        """Start an ended process once its pause is over; raise ProcessEndedError if it keeps failing."""
        if self._started_at is None:
            self._started_at = now
        code = self._poll()
        if code is None:
            return
        if self._due is None:
            self._failures = self._failures + 1 if now < self._started_at + BRIEF_SECONDS else 0
            if self._failures == MAX_FAILURES:
                raise ProcessEndedError(
                    f"{_how_it_ended(self._name, code)}, soon after each of its last {MAX_FAILURES} starts"
                )
            pause = min(2.0 ** (self._failures - 1), LONGEST_PAUSE_SECONDS) if self._failures else 0.0
            self._due = now + pause
            print_line(
                f"{_how_it_ended(self._name, code)}; it is started again{f' in {pause:.0f} s' * bool(pause)}"
            )
        if now >= self._due:
            self._due = self._started_at = None
            try:
                self._start()
            except StudyIngestError as error:
                print_line(str(error))


class Supervisor:
    """Run shell commands for the length of a `with`, then stop them; `keep` restarts commands that end.

    Each command leads a process group of its own. Only the leaders get the signal to stop: a worker then
    finishes its running tasks, which a signal to the group would interrupt. On Linux, the leaders end even if
    the supervisor is killed.
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
            for name in self.commands:
                self._start(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raise ProcessEndedError if a process has ended."""
        for name in self.commands:
            code = self._poll(name)
            if code is not None:
                raise ProcessEndedError(_how_it_ended(name, code))

    def keep(self, *others: Restarts) -> NoReturn:
        """Restart every process that ends, also the processes of `others`, until one keeps failing."""
        ours = [
            Restarts(name, partial(self._poll, name), partial(self._start, name)) for name in self.commands
        ]
        while True:
            for each in (*others, *ours):
                each.look(time.monotonic())
            time.sleep(CHECK_SECONDS)

    def _poll(self, name: str) -> int | None:
        return self._processes[name].poll()

    def _start(self, name: str) -> None:
        if name in self._processes:
            self._end_group(self._processes[name])  # processes that a killed leader has left
        with self.output(name) as output:
            self._processes[name] = subprocess.Popen(  # noqa: S603  # a Procfile is written for a shell
                tied(["/bin/sh", "-c", f"exec {self.commands[name]}"], signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                start_new_session=True,  # Ctrl-C reaches the supervisor alone
            )

    def stop(self) -> None:
        """Stop every process; kill the rest after the grace period, or at a second Ctrl-C."""
        processes = self._processes.values()
        for process in processes:
            process.terminate()
        try:
            wait_until(lambda: all(process.poll() is not None for process in processes), self.grace)
        finally:
            for process in processes:
                self._end_group(process)

    @staticmethod
    def _end_group(process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: an ended group on macOS
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _how_it_ended(name: str, code: int) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"{name} {how}"


def wait_until(done: Callable[[], bool], seconds: float, *, pause: float = PAUSE_SECONDS) -> bool:
    """Call `done` until it returns True or the seconds are over; return its last result."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def to_files(directory: Path) -> Output:
    """Append the output of each process to a log file of its own."""
    directory.mkdir(mode=0o700, exist_ok=True)
    return lambda name: (directory / f"{name}.log").open("ab")


@contextmanager
def to_terminal() -> Iterator[Output]:
    """Print the lines of all processes, each with its process' name in front."""
    threads: list[threading.Thread] = []
    colours: dict[str, str] = {}  # a process that is started again keeps its colour
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def open_pipe(name: str) -> BinaryIO:
        reading, writing = os.pipe()
        prefix = f"{name:<8} | "
        if coloured:
            colour = colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
            prefix = click.style(prefix, fg=colour)
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
            print_line(prefix + line.decode(errors="replace").rstrip())


def print_line(line: str) -> None:
    """Print a line; ignore errors."""
    with suppress(OSError):  # nobody reads the output any more, or a disk is full: the processes go on
        click.echo(line)
