"""The embedded servers: they start anywhere, keep what they were given, and leave nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from redis import Redis
from sqlalchemy import create_engine, text

from cli.local.places import LOCK, POSTGRES, VALKEY, ServerError, account_for, postgres_programs
from cli.local.servers import Servers, stop_orphan
from tests.processes import as_root, on_linux

HOLD = """
import pathlib, sys, time
from cli.local.servers import Servers
with Servers(pathlib.Path(sys.argv[1]), durable=True) as servers:
    print(servers.postgres.pid, servers.valkey.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def home(home: Path) -> Path:
    return home / "servers"


def write(servers: Servers) -> None:
    with connect(servers) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with Redis.from_url(servers.redis_url) as redis:
        redis.set("kept", 42)


def read(servers: Servers) -> tuple[object, object]:
    with connect(servers) as connection, Redis.from_url(servers.redis_url) as redis:
        row = connection.execute("SELECT answer FROM kept").fetchone()
        return row and row[0], redis.get("kept")


def connect(servers: Servers) -> psycopg.Connection:
    return psycopg.connect(servers.database_url, autocommit=True)  # as psql reads it


def ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_each_server_survives_being_stopped_killed_and_restarted(home: Path) -> None:
    with Servers(home, durable=True) as servers:
        write(servers)
        for server in (servers.postgres, servers.valkey):
            first = server.pid
            server.restart()
            second = server.pid
            server.kill()
            server.start()
            assert len({first, second, server.pid}) == 3
        assert read(servers) == (42, b"42")


def test_postgres_logs_an_error_without_the_row(home: Path) -> None:
    with Servers(home, durable=False, valkey=False) as servers, connect(servers) as connection:
        connection.execute("CREATE TABLE kept (answer text CHECK (answer = 'known'))")
        with pytest.raises(psycopg.errors.CheckViolation, match="mrk4kx0wq"):
            connection.execute("INSERT INTO kept VALUES ('mrk4kx0wq')")
        said = servers.postgres.log.read_text()
    assert "violates check constraint" in said
    assert "mrk4kx0wq" not in said


def test_a_server_that_was_frozen_can_be_stopped(home: Path) -> None:
    with Servers(home, durable=False, postgres=False) as servers:
        os.kill(servers.valkey.pid, signal.SIGSTOP)
        frozen = servers.valkey.pid
    assert ended(frozen)
    assert "bye bye" in servers.valkey.log.read_text()  # its words at an orderly end


def test_a_killed_postgres_starts_again_beside_its_busy_backend(home: Path) -> None:
    with Servers(home, durable=True, valkey=False) as servers:
        client = connect(servers)
        pid = client.info.backend_pid
        os.kill(pid, signal.SIGSTOP)  # it cannot notice that the server is gone
        servers.postgres.kill()
        thaw = subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -CONT {pid}"])
        servers.postgres.start()
        thaw.wait()
        client.close()
        with connect(servers) as connection:
            assert connection.info.dbname == "study_ingest"


@on_linux
def test_nothing_outlives_a_killed_run_and_nothing_is_lost(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, home], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        pids = [int(word) for word in run.stdout.readline().split()]
        with (
            pytest.raises(ServerError, match="in use by another"),
            Servers(home, durable=True),
        ):
            pass
        run.kill()
    assert len(pids) == 2
    with Servers(home, durable=True) as servers:  # at once: what still shuts down is waited for
        assert all(ended(pid) for pid in pids)
        write(servers)
        os.kill(servers.postgres.pid, signal.SIGKILL)
        os.kill(servers.valkey.pid, signal.SIGKILL)
    with Servers(home, durable=True) as servers:
        assert read(servers) == (42, b"42")


def test_only_a_run_for_tests_trades_safety_for_speed(home: Path) -> None:
    for durable, setting in ((False, "off"), (True, "on")):
        with Servers(home, durable=durable, valkey=False) as servers, connect(servers) as connection:
            assert connection.execute("SHOW fsync").fetchone() == (setting,)
            assert connection.execute("SHOW full_page_writes").fetchone() == (setting,)


def test_a_directory_may_have_a_long_name_with_any_character(home: Path) -> None:
    strange = home.parent / ("a b?c#d%e&f " + "g" * 100)
    with Servers(strange, durable=False) as servers:
        engine = create_engine(servers.database_url)
        with engine.connect() as connection, Redis.from_url(servers.redis_url) as redis:
            assert connection.scalar(text("SELECT current_database()")) == "study_ingest"
            assert redis.ping()
        engine.dispose()
        sockets = servers.postgres.sockets
        assert sockets.exists()
    assert not sockets.exists()


def test_a_server_that_does_not_start_shows_its_log(home: Path) -> None:
    with Servers(home, durable=False, valkey=False):
        pass
    (home / "postgres" / "PG_VERSION").write_text("12\n")
    with (
        pytest.raises(ServerError, match="incompatible with server"),
        Servers(home, durable=False),
    ):
        pass


def test_a_directory_open_to_others_is_refused_and_left_as_it_is(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    with pytest.raises(ServerError, match="mode 0700"), Servers(home, durable=False):
        pass
    assert home.stat().st_mode & 0o777 == 0o755
    assert list(home.iterdir()) == []


def test_an_orphan_is_stopped_and_another_process_with_its_pid_is_not(home: Path) -> None:
    home.mkdir()
    pid_file = home / "server.pid"
    command = [sys.executable, "-c", "print('started', flush=True); input()", str(home / "orphan")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        pid_file.write_text(f"{process.pid}\n")
        stop_orphan(pid_file, str(home / "stranger"), signal.SIGTERM)
        assert not pid_file.exists()
        assert process.poll() is None
        pid_file.write_text(f"{process.pid}\n")
        stop_orphan(pid_file, str(home / "orphan"), signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM


@as_root
def test_root_puts_servers_elsewhere_if_they_cannot_read_the_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.local.places.ROOT_SERVERS_DIRECTORY", home.parent / "var")
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    for _ in range(2):
        with Servers(closed / "servers", durable=False) as servers:
            assert psutil.Process(servers.postgres.pid).username() == "nobody"
    assert closed.stat().st_mode & 0o777 == 0o700
    assert (closed / "servers").readlink().parent == home.parent / "var"
    assert len(list((home.parent / "var").iterdir())) == 1


@as_root
def test_root_lets_the_owner_of_the_directory_run_the_servers(home: Path) -> None:
    home.mkdir(mode=0o700)
    os.chown(home, 1, 1)  # daemon: a user that every system has
    with Servers(home, durable=False) as servers:
        for server in (servers.postgres, servers.valkey):
            assert psutil.Process(server.pid).uids().effective == 1
            assert psutil.Process(server.pid).gids().effective == 1


@as_root
def test_programs_out_of_reach_run_from_a_copy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.local.places.ROOT_SERVERS_DIRECTORY", home.parent / "var")
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    packages = postgres_programs(account_for(Path("/"))).parents[2]
    for name in (POSTGRES, f"{POSTGRES}.libs", VALKEY):
        shutil.copytree(packages / name, closed / name, symlinks=True)
    monkeypatch.syspath_prepend(closed)
    monkeypatch.delitem(sys.modules, VALKEY, raising=False)  # its plugin of pytest has loaded it
    with Servers(home, durable=False) as servers:
        for server in (servers.postgres, servers.valkey):
            assert Path(psutil.Process(server.pid).exe()).is_relative_to(home.parent / "var")


@as_root
@pytest.mark.parametrize("name", ["postgres.log", "valkey.log", LOCK])
def test_root_follows_no_link_of_the_servers_account(home: Path, name: str) -> None:
    roots = home.parent / "roots"
    roots.write_text("kept")
    with Servers(home, durable=False, postgres=False):
        pass
    (home / name).unlink(missing_ok=True)
    (home / name).symlink_to(roots)
    with pytest.raises(ServerError, match=f"{name} is a link: remove it"), Servers(home, durable=False):
        pass
    assert roots.read_text() == "kept"


def test_only_servers_that_are_wanted_need_their_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.local.places.VALKEY", "no_such_package")
    with Servers(home, durable=False, valkey=False):
        pass
    with (
        pytest.raises(ServerError, match=r"no_such_package is not installed: install study-ingest\[local\]"),
        Servers(home, durable=False, postgres=False),
    ):
        pass
