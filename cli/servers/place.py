"""Where the servers keep their files and sockets."""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cli.servers.account import Account
from cli.servers.errors import ServerError
from cli.waiting import wait_until

ROOTS_PLACE = Path("/var/lib/study-ingest")  # where root keeps what its own directories would hide
SOCKET_PATH_LIMIT = 80  # the system allows 104 bytes (macOS) or 108, a socket's own name included
LOCK = "lock"
LOCK_SECONDS = 1.0  # outlasts a glance of `is_locked`, which holds it for an instant
PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)  # needs no quoting in a URL, whoever parses it


def settle(directory: Path, account: Account) -> Path:
    """Make the servers' directory and return its real path.

    Behind a directory that shuts the account out (root's home), it is a link to a place that does not:
    opening up somebody's directory is not for us to do.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    if not directory.exists() and not account.can_reach(directory.parent.resolve()):
        directory.unlink(missing_ok=True)  # a link to a place that is gone
        directory.symlink_to(_elsewhere(account))
    home = account.own_directory(directory.resolve())
    if not account.can_reach(home):
        raise ServerError(f"user {account.uid}, who runs the servers, cannot reach {home}")
    return home


def _elsewhere(account: Account) -> str:
    ROOTS_PLACE.mkdir(mode=0o755, exist_ok=True)
    path = tempfile.mkdtemp(dir=ROOTS_PLACE)
    os.chown(path, account.uid, account.gid)
    return path


def socket_directory(home: Path, account: Account) -> Path:
    """Make the directory of the sockets, elsewhere where the path is too long or needs quoting."""
    path = home / "sockets"
    if len(bytes(path)) > SOCKET_PATH_LIMIT or not PLAIN_PATH.fullmatch(str(path)):
        digest = hashlib.sha256(bytes(home)).hexdigest()[:12]
        path = Path(tempfile.gettempdir(), f"study-ingest-{digest}")
    return account.own_directory(path)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the directory for one run at a time; the system lets go of it however the run ends."""
    with (home / LOCK).open("a") as lock:
        if not wait_until(lambda: _hold(lock, fcntl.LOCK_EX), LOCK_SECONDS):
            raise ServerError(f"{home} is in use by another run")
        yield


def is_locked(home: Path) -> bool:
    """Tell whether a run holds the directory."""
    try:
        with (home / LOCK).open() as lock:
            return not _hold(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _hold(lock: TextIO, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
