"""Servers that an earlier run left behind."""

import os
import signal
import subprocess
from pathlib import Path

from cli.servers.errors import ServerError
from cli.waiting import wait_until

STOP_SECONDS = 30.0  # a server that writes a last checkpoint to a slow disk


def stop_orphan(pid_file: Path, place: str, stop_signal: signal.Signals) -> None:
    """Stop the server of a pid file where it still runs in `place`; else remove the file.

    The caller holds the directory's lock, so such a server has lost its run. A pid may by now be another
    program's (a restarted container): that one is left alone.
    """
    pid = _read_pid(pid_file)
    if pid and place in _arguments(pid):
        os.kill(pid, stop_signal)
        if not wait_until(lambda: place not in _arguments(pid), STOP_SECONDS):
            raise ServerError(f"a server of an earlier run (process {pid}) does not stop")
    pid_file.unlink(missing_ok=True)


def _read_pid(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _arguments(pid: int) -> str:
    """Read a process's command line; empty for a dead one, a zombie included."""
    if Path("/proc/self").exists():  # slim images have no `ps`
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""
    ask = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(ask, capture_output=True, text=True, check=False).stdout  # noqa: S603  # fixed words
