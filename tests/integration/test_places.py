"""The data directory's `env`: other commands find by it what runs."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.local.places import SERVERS, NothingRunningError, last_env, make_data_dir, read_env, write_env
from cli.local.servers import Servers
from cli.local.up import SECRETS, addresses, free_port, process_environment, stores, tokens
from tests.processes import reachable_directory

OUR_OWN = [*SECRETS, "DATABASE_URL", "BROKER_URL", "REDIS_URL"]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with reachable_directory() as path:
        yield make_data_dir(path / "data")


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
    assert addresses(8000, last) == last
    assert process_environment(last, tmp_path)["FLOWER_PORT"] == str(port)
    with socket.create_server(("127.0.0.1", port)):
        moved = addresses(8000, last)
    assert moved["API_URL"] == last["API_URL"]
    assert moved["FLOWER_URL"] != last["FLOWER_URL"]
