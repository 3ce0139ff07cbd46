"""The data directory's `env`: other commands find by it what runs."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.local.places import ENV, SERVERS, NothingRunningError, last_env, make_data_dir, read_env, write_env
from cli.local.servers import Servers
from cli.local.up import (
    SECRETS,
    SIGNING_KEY,
    VIEWER_KEYS,
    addresses,
    learner_tokens,
    process_environment,
    stores,
    tokens,
)
from tests.processes import FOREIGN, as_root, free_port, reachable_python

OUR_OWN = [*SECRETS, "DATABASE_URL", "BROKER_URL", "REDIS_URL"]


@pytest.fixture
def data_dir(home: Path) -> Path:
    return make_data_dir(home / "data")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OUR_OWN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def lock(data_dir: Path) -> Servers:
    """Hold the directory as a run does whose stores are elsewhere."""
    return Servers(data_dir / SERVERS, durable=True, postgres=False, valkey=False)


def test_what_runs_is_found_and_what_has_stopped_is_not(data_dir: Path, lock: Servers) -> None:
    written = {"DATABASE_URL": "postgresql://a@/b?host=/c&d=e", "VIEWER_SYNC_TOKEN": "a=b"}
    with pytest.raises(NothingRunningError, match=f"study-ingest up --data-dir {data_dir}"):
        read_env(data_dir)
    with lock:
        write_env(data_dir, written)
        assert read_env(data_dir) == written
    assert last_env(data_dir) == written
    with pytest.raises(NothingRunningError):
        read_env(data_dir)


def test_only_its_owner_can_read_it(data_dir: Path) -> None:
    for value in ("first", "second"):
        write_env(data_dir, {"VIEWER_SYNC_TOKEN": value})
        assert (data_dir / "env").stat().st_mode & 0o777 == 0o600
        assert last_env(data_dir) == {"VIEWER_SYNC_TOKEN": value}
    assert [path.name for path in data_dir.iterdir()] == ["env"]


def test_tokens_are_made_once_and_kept_unless_the_environment_names_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = tokens({})
    assert len(set(first.values())) == len(SECRETS)
    assert tokens(first) == first
    assert tokens({}) != first
    monkeypatch.setenv("VIEWER_SYNC_TOKEN", "mine")
    assert tokens(first) == {**first, "VIEWER_SYNC_TOKEN": "mine"}


def test_stores_of_the_environment_win_over_embedded_ones(
    monkeypatch: pytest.MonkeyPatch, servers: Servers
) -> None:
    embedded = {
        "DATABASE_URL": servers.database_url,
        "BROKER_URL": servers.broker_url,
        "REDIS_URL": servers.redis_url,
    }
    assert stores(servers) == embedded
    monkeypatch.setenv("BROKER_URL", "amqp://elsewhere")
    assert stores(servers) == {**embedded, "BROKER_URL": "amqp://elsewhere", "REDIS_URL": ""}
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/db")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/1")
    assert stores(servers) == {
        "DATABASE_URL": "postgresql://elsewhere/db",
        "BROKER_URL": "amqp://elsewhere",
        "REDIS_URL": "redis://elsewhere/1",
    }


def test_flower_stays_at_its_port_until_somebody_else_is_there(tmp_path: Path) -> None:
    port = free_port()
    last = {"API_URL": "http://127.0.0.1:8000", "FLOWER_URL": f"http://127.0.0.1:{port}"}
    assert addresses(8000, 0, last) == last
    assert addresses(8000, 5555, last)["FLOWER_URL"] == "http://127.0.0.1:5555"
    assert process_environment(last, tmp_path)["FLOWER_PORT"] == str(port)
    with socket.create_server(("127.0.0.1", port)):
        moved = addresses(8000, 0, last)
    assert moved["API_URL"] == last["API_URL"]
    assert moved["FLOWER_URL"] != last["FLOWER_URL"]
    both = addresses(port, 0, last)  # the web process has Flower's port of the last run
    assert both["API_URL"] != both["FLOWER_URL"]


@pytest.mark.parametrize("lost", [VIEWER_KEYS, SIGNING_KEY])
def test_keys_of_which_one_half_is_lost_are_made_again(data_dir: Path, lost: str) -> None:
    settings = learner_tokens(data_dir)
    (data_dir / lost).unlink()
    assert learner_tokens(data_dir) == settings
    key = json.loads((data_dir / SIGNING_KEY).read_text())
    keys = json.loads((data_dir / VIEWER_KEYS).read_text())["keys"]
    assert key["kid"] in {each["kid"] for each in keys}
    assert learner_tokens(data_dir) == settings
    assert json.loads((data_dir / SIGNING_KEY).read_text()) == key


Run = Callable[..., subprocess.CompletedProcess[str]]
ACT_AS_OWNER = """
import os, pathlib, sys
from cli.local import places
places.act_as_owner(pathlib.Path(sys.argv[1]))
print(os.getresuid(), os.getresgid(), os.getgroups())
"""
RUN_A_COMMAND = """
import os, sys
from cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(os.getresuid())
"""


@pytest.fixture
def run_python(data_dir: Path) -> Run:
    python = reachable_python(data_dir.parent / "python")

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [python, "-c", script, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def act_as_owner(run_python: Run) -> Run:
    return lambda path: run_python(ACT_AS_OWNER, str(path))


@as_root
def test_root_becomes_the_owner_of_what_is_not_its_own(data_dir: Path, act_as_owner: Run) -> None:
    """A directory, what is to be made in it, root's in it, a link, and a link of root's into it."""
    foreign = data_dir / "foreign"
    foreign.mkdir()
    os.chown(foreign, FOREIGN, 0)  # root's group does not make its owner a member of it
    within = foreign / "roots"
    within.mkdir()
    theirs = data_dir / "theirs"
    theirs.symlink_to(data_dir)
    os.chown(theirs, FOREIGN, FOREIGN, follow_symlinks=False)
    ours = data_dir / "ours"
    ours.symlink_to(within)
    owner = f"{(FOREIGN,) * 3} {(FOREIGN,) * 3} []\n"
    for path in (foreign, foreign / "not" / "yet", within, theirs, theirs / "data", ours):
        assert (path, act_as_owner(path).stdout) == (path, owner)
    for path in (data_dir, data_dir / "new"):
        assert act_as_owner(path).stdout.startswith("(0, 0, 0) (0, 0, 0)")


@as_root
@pytest.mark.parametrize("command", ["stats", "tokens mint --learner 1", "upload /dev/null"])
def test_root_becomes_the_owner_before_a_command_reads_what_runs(
    data_dir: Path, run_python: Run, command: str
) -> None:
    os.chown(data_dir, FOREIGN, FOREIGN)
    ran = run_python(RUN_A_COMMAND, *command.split(), "--data-dir", str(data_dir))
    assert (ran.stdout, "nothing runs" in ran.stderr) == (f"{(FOREIGN,) * 3}\n", True), ran.stderr


@as_root
def test_root_does_not_use_what_others_can_write_to(data_dir: Path, act_as_owner: Run) -> None:
    shared = data_dir / "shared"
    shared.mkdir()
    os.chown(shared, 0, FOREIGN)
    for path, mode in ((shared, 0o777), (shared, 0o1777), (shared / "new", 0o777), (shared, 0o770)):
        shared.chmod(mode)
        assert f"others can write to {shared}" in act_as_owner(path).stderr
    shared.chmod(0o1777)
    assert act_as_owner(shared / "new").returncode == 0


@as_root
def test_an_owner_who_cannot_run_the_program_is_named(data_dir: Path, act_as_owner: Run) -> None:
    os.chown(data_dir, FOREIGN, FOREIGN)
    data_dir.parent.chmod(0o700)
    refused = act_as_owner(data_dir).stderr
    assert f"user {FOREIGN} cannot reach " in refused
    assert f"becomes this user, who can change {data_dir} or a directory above it" in refused
    assert (
        "where this user can reach them, or choose a --data-dir in directories that only root can change"
        in refused
    )


@pytest.mark.parametrize("kind", ["a pipe", "noise", "nothing"])
def test_what_is_no_environment_of_a_run_is_none(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ENV
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "noise":
        path.write_bytes(b"\xff\xfe=\n=x\nA\0=1\nB=\0\nOPS_PASSWORD=kept\n")
    assert last_env(tmp_path) == ({"OPS_PASSWORD": "kept"} if kind == "noise" else {})
    write_env(tmp_path, {"A": "1=2"})
    assert last_env(tmp_path) == {"A": "1=2"}
