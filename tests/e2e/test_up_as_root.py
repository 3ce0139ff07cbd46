"""`up` as root, on a data directory that another user owns and has planted things in."""

import os
import pickle
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.processes import FOREIGN, PATIENCE_S, as_root, living, reachable_python, until

pytestmark = as_root
BARE = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "BROKER_URL"}}


class Planted:
    """Run a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.fixture
def data(home: Path) -> Path:
    """Make a directory of another user, with a pickle of theirs."""
    data = home / "data"
    data.mkdir()
    (data / "flower.db").write_bytes(pickle.dumps(Planted(f"id -u > {data}/ran")))
    for path in (data, data / "flower.db"):
        os.chown(path, FOREIGN, FOREIGN)
    (data / "flower.db").chmod(0o600)
    return data


@contextmanager
def starting(home: Path, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [reachable_python(home / "python"), "-m", "cli", "up", "--data-dir", str(data), "--port", "0"]
    with (home / "log").open("wb") as log:
        up = subprocess.Popen(command, cwd=home, env=BARE, stdout=log, stderr=log)
    try:
        until(lambda: up.poll() is not None or "\nready " in "\n" + said(home), "it is ready")
        yield up
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGINT)
            up.wait(PATIENCE_S)


def said(home: Path) -> str:
    return (home / "log").read_text()


def test_every_process_runs_as_the_directorys_owner(home: Path, data: Path) -> None:
    with starting(home, data) as up:
        assert up.poll() is None, said(home)
        # Backends of Postgres come and go.
        family = [psutil.Process(up.pid), *psutil.Process(up.pid).children(recursive=True)]
        assert {"postgres", "valkey-server"} < {name for _, name in living(family, psutil.Process.name)}
        assert {uid for _, uids in living(family, psutil.Process.uids) for uid in uids} == {FOREIGN}
    assert {path.lstat().st_uid for path in data.rglob("*")} == {FOREIGN}
    # Flower may read what the owner alone can write: it runs as the owner.
    assert [path.read_text() for path in data.glob("ran")] in ([], [f"{FOREIGN}\n"])


@pytest.mark.parametrize(("name", "code"), [("env", 1), ("servers", 1), ("metrics", None)])
def test_root_follows_no_link_that_the_owner_planted(
    home: Path, data: Path, name: str, code: int | None
) -> None:
    roots = home / "roots"
    roots.mkdir(mode=0o700)
    (roots / "kept").write_text("kept")
    (data / name).symlink_to(roots / "kept" if name == "env" else roots)
    os.chown(data / name, FOREIGN, FOREIGN, follow_symlinks=False)
    with starting(home, data) as up:
        assert up.poll() == code, said(home)
    assert "Traceback" not in said(home)
    assert [(path.name, path.read_text()) for path in roots.iterdir()] == [("kept", "kept")]
