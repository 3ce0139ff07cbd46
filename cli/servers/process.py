"""One server process and its log."""

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from cli.leash import leashed
from cli.servers.account import Account
from cli.servers.errors import ServerError
from cli.waiting import wait_until

START_SECONDS = 60.0  # recovery after a crash, on a slow disk
STOP_SECONDS = 20.0
LOG_TAIL = 1500  # characters: the last screenful
PASSED_ON = ("PATH", "LD_LIBRARY_PATH")  # of our environment: neither tokens nor PGPORT


class ServerProcess(ABC):
    """Start, stop, kill and restart one server.

    Start it from a thread that outlives it: on Linux it stops when that thread ends.
    """

    name: str
    stop_signal: signal.Signals

    def __init__(self, home: Path, account: Account) -> None:
        self.home = home
        self.account = account
        self.log = home / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Say how the server is started, in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Ask the server whether it serves."""

    @property
    def pid(self) -> int:
        """Tell the process id, for faults of a test's own making (SIGSTOP, SIGKILL)."""
        return self._running().pid

    def start(self) -> None:
        """Start the server and wait until it serves."""
        self._process = self._spawn(self.command())
        ended = self._process.poll
        if (
            not wait_until(lambda: ended() is not None or self.is_ready(), START_SECONDS)
            or ended() is not None
        ):
            self.kill()
            raise self.failure("did not start")

    def stop(self) -> None:
        """Shut the server down in order; kill one that does not answer."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        self._process.send_signal(signal.SIGCONT)  # a test may have frozen it
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server as a crash would."""
        process = self._running()
        process.kill()
        process.wait()

    def restart(self) -> None:
        """Start the server again, after stopping it where it still runs."""
        self.stop()
        self.start()

    def run_once(self, command: list[str]) -> None:
        """Run a command as the server's user and wait for its end."""
        if self._spawn(command).wait() != 0:
            raise self.failure(f"failed to run {Path(command[0]).name}")

    def failure(self, what: str) -> ServerError:
        """Word a failure with the end of the log."""
        tail = self.log.read_text(errors="replace")[-LOG_TAIL:]
        return ServerError(f"{self.name} {what}; its log, {self.log}, ends with:\n{tail}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self.name} was not started")
        return self._process

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own words and paths; no shell
                leashed(command, self.stop_signal, self.account.uid, self.account.gid),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env={**passed_on, "LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C must not reach a server before its clients are done
            )
