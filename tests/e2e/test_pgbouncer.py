"""Uploads, replays and the live side through PgBouncer, which gives each transaction another session."""

import random
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, make_url

import migrations
from cli.client import PATH, Sender
from cli.doctor import examine
from cli.local.pdeathsig import tied
from cli.local.servers import PORT, Servers
from cli.main import main
from shared import spool, uploads
from shared.config import Settings
from shared.db import make_engine
from shared.study.finalize import verify
from tests import factories
from tests.clients import STUDY_TOKEN
from tests.factories import statuses
from tests.processes import Processes, free_port, until

SENDERS, EACH = 4, 75
# What no client of the pooler may leave behind in a session for the next.
LEFT_BEHIND = ("lock_timeout", "statement_timeout", "enable_seqscan", "search_path")


def version() -> tuple[int, ...]:
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("PgBouncer is not installed (Debian's package: pgbouncer)")
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", shown)[:2]))


@contextmanager
def pgbouncer(servers: Servers, home: Path, prepared: int) -> Iterator[int]:
    """Run PgBouncer before Postgres, by the settings of a usual installation; give its port."""
    port, account = free_port(), servers.postgres.account
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": 5,
        "unix_socket_dir": "",
    } | ({"max_prepared_statements": prepared} if version() >= (1, 21) else {})
    settings = "\n".join(f"{name} = {value}" for name, value in lines.items())
    databases = f"* = host={servers.postgres.sockets} port={PORT} user=study"
    (file := home / "pgbouncer.ini").write_text(f"[databases]\n{databases}\n[pgbouncer]\n{settings}\n")
    command = tied(
        [str(shutil.which("pgbouncer")), "-q", str(file)], signal.SIGKILL, account.uid, account.gid
    )
    with subprocess.Popen(command) as process:
        try:
            until(lambda: answers(port), "PgBouncer answers")
            yield port
        finally:
            process.kill()


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["without", "without, in a schema", "with"])
def settings(
    request: pytest.FixtureRequest,
    settings: Settings,
    servers: Servers,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    """Reach Postgres through PgBouncer: without prepared statements (0, or before 1.21), and with them.

    In a schema of ours: `public` has the same tables, for whatever looks there.
    """
    prepares = request.param == "with"
    if prepares and version() < (1, 21):
        pytest.skip("PgBouncer knows prepared statements from 1.21 on")
    schema = "learning" if "schema" in request.param else ""
    monkeypatch.setenv("DATABASE_SCHEMA", schema)
    migrations.upgrade(settings.database_url)
    with pgbouncer(servers, home, prepared=200 if prepares else 0) as port:
        url = f"postgresql://study@127.0.0.1:{port}/{make_url(settings.database_url).database}"
        more = {"database_url": url, "database_schema": schema, "pooler_prepares": prepares}
        yield settings.model_copy(update=more)


@pytest.fixture
def engine(settings: Settings, database_url: str) -> Iterator[Engine]:
    """Reach Postgres itself."""
    engine = make_engine(settings.model_copy(update={"database_url": database_url}))
    yield engine
    engine.dispose()


def test_I1_I2_every_process_works_through_it(
    engine: Engine, house: Processes, viewer: Sender, settings: Settings, servers: Servers
) -> None:
    factories.load_many(engine)
    for name in ("worker", "sweeper"):
        house.start(name)
    url = str(viewer.http.base_url)

    def send(seed: int) -> list[int]:
        rng, answered = random.Random(seed), []
        with Sender(url, "viewer-token-of-tests") as own:
            for _ in range(EACH):
                upload = factories.random_upload(rng, learner=1 + seed % 3)
                answered.append(own.http.post(PATH, json=upload).status_code)
                place = f"{PATH}/{upload['client_session_uuid']}"
                answered.append(own.http.get(place).status_code)
                reviews = f"/study/users/{1 + seed % 3}/reviews"
                answered.append(own.http.get(reviews, headers=STUDY_TOKEN).status_code)
        return answered

    with ThreadPoolExecutor(SENDERS) as senders:
        assert set().union(*senders.map(send, range(SENDERS))) == {202, 200}
    until(lambda: statuses(engine) == ["ingested"] * SENDERS * EACH, "every upload is ingested")
    assert [checked.differing for checked in verify(engine)] == [set()] * 3
    with spool.connect(servers.redis_url) as redis:
        assert spool.spooled(redis) == 0
    with psycopg.connect(settings.database_url) as through, psycopg.connect(servers.database_url) as direct:
        for name in LEFT_BEHIND:
            assert through.execute(f"SHOW {name}").fetchone() == direct.execute(f"SHOW {name}").fetchone()
        in_public = 0 if settings.database_schema else SENDERS * EACH
        assert through.execute("SELECT count(*) FROM public.uploads").fetchone() == (in_public,)


def test_a_locked_row_holds_up_only_the_upload_that_needs_it(
    engine: Engine, viewer: Sender, servers: Servers
) -> None:
    factories.load_many(engine)
    rng = random.Random(3)
    locked, *others = [factories.random_upload(rng, learner=1) for _ in range(8)]
    with engine.connect() as holder, spool.connect(servers.redis_url) as redis:
        uploads.receive(holder, [factories.delivery(locked)], first_try_after=60)
        with ThreadPoolExecutor(len(others) + 1) as senders:
            sent = senders.map(lambda each: viewer.http.post(PATH, json=each).status_code, [locked, *others])
            assert set(sent) == {202}
        assert spool.spooled(redis) == 1
        holder.rollback()
    assert len(statuses(engine)) == len(others)


def test_migrate_goes_past_it(
    settings: Settings, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = make_url(settings.database_url).set(database=make_url(empty_database_url).database)
    monkeypatch.setenv("DATABASE_URL", through.render_as_string())
    refused = CliRunner().invoke(main, ["migrate"])
    assert refused.exit_code == 1
    assert "set MIGRATE_DATABASE_URL to the URL of Postgres itself" in refused.output
    monkeypatch.setenv("MIGRATE_DATABASE_URL", empty_database_url)
    assert CliRunner().invoke(main, ["migrate"]).exit_code == 0
    assert migrations.pending(through.render_as_string()) == []


def test_doctor_reports_it(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.doctor.START_S", 0.0)
    found = {each.check: each for each in examine(settings, "http://127.0.0.1:9")}["postgres"]
    assert (found.level, "through a pooler" in found.detail) == ("warn", True)
    assert "MIGRATE_DATABASE_URL" in found.fix
    past = settings.model_copy(update={"migrate_database_url": database_url})
    assert {each.check: each for each in examine(past, "http://127.0.0.1:9")}["postgres"].level == "ok"
