"""The data directory of `up`, and the `env` file in it by which other commands find what runs there."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cli.local.places import is_locked
from shared.errors import StudyIngestError

DEFAULT_DIRECTORY = Path(".data")
ENV = "env"
SERVERS = "servers"
TRAVERSABLE = 0o711  # as root the servers run as another user, who passes through to his own directory


class NothingRunningError(StudyIngestError):
    """No `up` runs with the data directory."""


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
    """Write the file in one step, for its owner's eyes only: `KEY=VALUE` lines without quoting."""
    handle, unfinished = tempfile.mkstemp(dir=data_dir, prefix=ENV)  # mode 0600 from the start
    with os.fdopen(handle, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in environment.items())
    Path(unfinished).replace(data_dir / ENV)


def make_data_dir(data_dir: Path) -> Path:
    """Make the directory where it is missing; return its absolute path."""
    data_dir.mkdir(TRAVERSABLE, parents=True, exist_ok=True)
    return data_dir.resolve()
