"""`up` as an operator meets it: one command that starts everything, stops everything and forgets nothing."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from cli.local.places import NothingRunningError, read_env
from tests.processes import PATIENCE_S, free_port, living, on_linux, until
from tests.up import BARE, COMMAND, KEPT, KEYS, TOKENS, Up, running


@pytest.fixture
def start() -> Iterator[Callable[[Path], Up]]:
    """Start an `up` that is killed at the end of the test, if it still runs."""
    with ExitStack() as cleanup:
        yield lambda data_dir: cleanup.enter_context(running(data_dir))


def send(viewer: httpx.Client) -> str:
    """Send an upload that will be rejected; return where its status is."""
    attempt = {
        "pub_id": "unheard-of",
        "selected": 0,
        "unsure": False,
        "answered_at": f"{datetime.now(UTC):%FT%TZ}",
    }
    body = {"client_session_uuid": str(uuid4()), "attempts": [attempt]}
    answer = viewer.post("/ingest/study/attempts", json=body)
    assert answer.status_code == httpx.codes.ACCEPTED
    return answer.headers["Location"]


def verify(data_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "verify", "--data-dir", str(data_dir)]
    return subprocess.run(command, env=BARE, capture_output=True, text=True, check=False)


def test_everything_runs_until_it_is_stopped(home: Path, start: Callable[[Path], Up]) -> None:
    assert "nothing runs with the data directory" in verify(home / "data").stderr
    up = start(home / "data")
    assert verify(up.data_dir).returncode == 0
    env = read_env(up.data_dir)
    assert sorted(env) == sorted(KEYS)
    assert Path(env["VIEWER_SIGNING_KEY"]).stat().st_mode & 0o777 == 0o600
    assert (up.data_dir / "env").stat().st_mode & 0o777 == 0o600
    with up.viewer() as viewer:
        where = send(viewer)
        until(lambda: viewer.get(where).json()["status"] == "rejected", "the worker replays it")
        mint = [COMMAND, "tokens", "mint", "--learner", "1", "--data-dir", str(up.data_dir)]
        token = subprocess.run(mint, env=BARE, capture_output=True, text=True, check=True).stdout.strip()
        viewer.headers["Authorization"] = f"Bearer {token}"
        assert viewer.get(where).status_code == 404  # another's
        send(viewer)
    assert up.end(signal.SIGINT) == 0
    with pytest.raises(NothingRunningError):
        read_env(up.data_dir)
    for token in TOKENS:
        assert env[token] not in up.said()
    assert sorted(path.name for path in home.iterdir()) == ["data", "data.log"]  # nothing is left elsewhere


def test_doctor_finds_nothing_wrong_right_after_ready(home: Path, start: Callable[[Path], Up]) -> None:
    up = start(home / "data")
    found = up.doctor()
    assert [each for each in found.values() if each["level"] != "ok"] == []
    assert {"worker", "sweeper", "web"} - {*found} == set()


def test_flower_shows_itself_to_operators_only_and_lets_them_change_nothing(
    home: Path, start: Callable[[Path], Up]
) -> None:
    env = read_env(start(home / "data").data_dir)
    name, password = env["FLOWER_BASIC_AUTH"].split(":")
    with httpx.Client(base_url=env["FLOWER_URL"], trust_env=False, timeout=PATIENCE_S) as anyone:
        until(lambda: _listens(anyone), "Flower listens")
        assert anyone.get("/workers").status_code == httpx.codes.UNAUTHORIZED
        anyone.auth = httpx.BasicAuth(name, password)
        until(lambda: "worker@" in anyone.get("/workers?refresh=1").text, "Flower knows the worker")
        shutdown = anyone.post("/api/worker/shutdown/worker@here")
        assert shutdown.status_code == httpx.codes.FORBIDDEN


def _listens(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/healthcheck"))
    except httpx.TransportError:
        return False


@on_linux
def test_a_killed_up_takes_everything_along_and_loses_nothing(
    home: Path, start: Callable[[Path], Up]
) -> None:
    up = start(home / "data")
    before = read_env(up.data_dir)
    with up.viewer() as viewer:
        where = send(viewer)
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    again = start(home / "data")
    after = read_env(again.data_dir)
    assert {name: after[name] for name in KEPT} == {name: before[name] for name in KEPT}
    with again.viewer() as viewer:
        until(lambda: viewer.get(where).json()["status"] == "rejected", "the upload comes to its end")


@pytest.mark.parametrize(
    ("words", "name"),
    [("worker@", "worker"), ("-m api", "web"), ("bin/postgres", "postgres"), ("valkey-server", "valkey")],
)
def test_what_dies_is_named_and_started_again(
    home: Path, start: Callable[[Path], Up], words: str, name: str
) -> None:
    up = start(home / "data")
    died = up.find(words)
    died.kill()
    until(lambda: f"{name} was killed by SIGKILL; it is started again" in up.said(), "it is noticed")
    until(lambda: [died] != up.find_all(words) != [], "another runs in its place")
    with up.viewer() as viewer:
        until(lambda: is_ready(viewer), "uploads are accepted again")
        where = send(viewer)
        until(lambda: status(viewer, where) == "rejected", "the worker replays it")
    assert up.end(signal.SIGINT) == 0


def is_ready(viewer: httpx.Client) -> bool:
    try:
        return viewer.get("/readyz").is_success
    except httpx.TransportError:
        return False


def status(viewer: httpx.Client, where: str) -> str | None:
    answer = viewer.get(where)  # 404 or 503 while it is in the spool alone
    return str(answer.json()["status"]) if answer.is_success else None


def test_two_run_side_by_side_but_not_on_one_port(home: Path, start: Callable[[Path], Up]) -> None:
    first, second = (read_env(start(home / name).data_dir) for name in ("first", "second"))
    for name in set(KEYS) - {"VIEWER_TOKEN_AUDIENCE"}:
        assert first[name] != second[name]
    port = str(httpx.URL(first["API_URL"]).port)
    third = [COMMAND, "up", "--data-dir", str(home / "third"), "--port", port]
    refused = subprocess.run(third, env=BARE, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"port {port} is taken, perhaps by another `up`; choose another port with --port" in refused.stderr
    free = str(free_port())
    same = [*third[:-1], free, "--flower-port", free]
    refused = subprocess.run(same, env=BARE, capture_output=True, text=True, check=False)
    assert f"--port and --flower-port are both {free}: choose two ports" in refused.stderr
    with httpx.Client(base_url=first["FLOWER_URL"], trust_env=False) as anyone:
        until(lambda: _listens(anyone), "the first Flower has its port")
    flower = str(httpx.URL(first["FLOWER_URL"]).port)
    named = BARE | {"PORT": "0", "FLOWER_PORT": flower}
    refused = subprocess.run(third[:-2], env=named, capture_output=True, text=True, check=False)
    assert (
        f"port {flower} is taken, perhaps by another `up`; choose another port with --flower-port"
        in refused.stderr
    )


def test_under_nohup_it_runs_on_without_its_terminal(home: Path) -> None:
    """It migrates its own database, also if the shell names another one for migrations."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with running(home / "data", MIGRATE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing") as up:
            up.process.send_signal(signal.SIGHUP)
            with up.viewer() as viewer:
                where = send(viewer)
                until(lambda: viewer.get(where).json()["status"] == "rejected", "the worker replays it")
            assert up.end(signal.SIGINT) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_named_stores_are_used_and_no_embedded_one_is_started(
    home: Path, database_url: str, broker_url: str
) -> None:
    stores = {"DATABASE_URL": database_url, "BROKER_URL": broker_url}
    with running(home / "data", **stores) as up:
        env = read_env(up.data_dir)
        assert {**env, **stores} == env
        assert env["REDIS_URL"] == ""
        family = psutil.Process(up.process.pid).children(recursive=True)
        names = {name for _, name in living(family, psutil.Process.name)}
        assert {"postgres", "valkey-server"} & names == set()
        with up.viewer() as viewer:
            send(viewer)
