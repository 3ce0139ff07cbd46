"""The drill: back up, lose both stores, restore, let viewers send again: nothing is missing or doubled."""

import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

import migrations
from cli.client import PATH
from cli.local.servers import Servers
from cli.main import main
from shared.config import Settings
from tests import factories
from tests.marks import MARK, is_marked
from tests.processes import PATIENCE_S, Processes, processes, until

KEPT, LATER = (
    [factories.random_upload(random.Random(seed), 1 + seed % 3) for seed in seeds]
    for seeds in ((1, 2, 3, 4, 5), (6, 7, 8))
)
VIEWER = {"Authorization": "Bearer viewer-token-of-tests"}
EVERY_PROCESS = ("worker", "sweeper")
INGESTED = text("SELECT count(*) FROM uploads WHERE status = 'ingested'")


@contextmanager
def installation(
    home: Path, logs: Path, backup: Path | None = None
) -> Iterator[tuple[Servers, Engine, Processes]]:
    """Run stores of their own and the processes on them: with nothing, or with what a backup holds."""
    with Servers(home, durable=False) as servers:
        if backup:
            client(servers, "pg_restore", "--exit-on-error", "--no-owner", str(backup))
        migrations.upgrade(servers.database_url)
        engine = create_engine(servers.database_url, poolclass=NullPool)
        settings = Settings(
            database_url=servers.database_url,
            broker_url=servers.broker_url,
            redis_url=servers.redis_url,
            study_ingest_enabled=True,
            viewer_sync_token="viewer-token-of-tests",
            store_deadline=10.0,
        )
        with processes(settings, logs) as house:
            yield servers, engine, house
        engine.dispose()


def client(servers: Servers, program: str, *arguments: str) -> None:
    """Run a client program of the embedded Postgres' own version."""
    plain = make_url(servers.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    path = servers.postgres.programs / program
    subprocess.run([path, "--dbname", plain, *arguments], check=True, env={"LC_ALL": "C"})


def send(house: Processes, engine: Engine, uploads: list[dict[str, Any]]) -> list[int]:
    """Send uploads, and wait until all of them are ingested; return how they were answered."""
    before = count(engine)
    with httpx.Client(base_url=house.serve(), headers=VIEWER, timeout=PATIENCE_S) as viewer:
        answers = [viewer.post(PATH, json=upload).status_code for upload in uploads]
    until(lambda: count(engine) == before + answers.count(202), "every upload is ingested")
    house.kill("web")
    return answers


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(INGESTED))


def numbers(engine: Engine) -> dict[str, int]:
    """Count the rows of each table; a heartbeat is nobody's."""
    return {name: len(rows) for name, rows in factories.everything(engine).items() if name != "heartbeats"}


def test_I2_after_a_restore_everything_is_sent_again_and_is_there_once(home: Path, tmp_path: Path) -> None:
    backup = home / "backup"
    with installation(home / "lost", tmp_path) as (servers, engine, house):
        factories.load_many(engine)
        for name in EVERY_PROCESS:
            house.start(name)
        assert send(house, engine, KEPT) == [202] * len(KEPT)
        client(servers, "pg_dump", "--format", "custom", "--file", str(backup))
        backed_up = numbers(engine)
        assert send(house, engine, LATER) == [202] * len(LATER)
        everything, progress = numbers(engine), factories.progress(engine)
        for server in (servers.postgres, servers.valkey):
            server.kill()
    shutil.rmtree(home / "lost")

    with installation(home / "new", tmp_path, backup) as (_, engine, house):
        assert numbers(engine) == backed_up != everything
        for name in EVERY_PROCESS:
            house.start(name)
        assert send(house, engine, [*LATER, *KEPT]) == [202] * len(LATER) + [200] * len(KEPT)
        assert numbers(engine) == everything
        assert factories.progress(engine) == progress
        assert factories.sound(engine)


def test_I11_a_deleted_learner_is_in_no_dump_and_no_log_and_goes_from_a_restored_backup_again(
    home: Path, tmp_path: Path
) -> None:
    backup, logs = home / "backup", tmp_path
    pub_id = f"q-{MARK}"
    sent = factories.upload(factories.answer(pub_id, "2026-11-20T09:00:00Z"), note=MARK)
    with installation(home / "lost", logs) as (servers, engine, house):
        factories.load(engine)
        factories.load(
            engine, {"questions": [factories.question(110, pub_id, choices=[MARK, "b", "c", "d"])]}
        )
        for name in EVERY_PROCESS:
            house.start(name)
        assert send(house, engine, [sent]) == [202]
        client(servers, "pg_dump", "--format", "custom", "--file", str(backup))
        assert is_marked(dump(servers, home)), "the search finds what is there"
        delete(servers)
        assert not is_marked(dump(servers, home))

    with installation(home / "new", logs, backup) as (servers, engine, _):
        assert count(engine) == 1
        delete(servers)
        assert not is_marked(dump(servers, home))
    written = [log.read_text() for log in logs.glob("*.log")]
    assert any("upload.replayed" in log for log in written)
    assert not any(is_marked(log) for log in written)


def dump(servers: Servers, home: Path) -> str:
    """Return all of a database as text."""
    client(servers, "pg_dump", "--file", str(home / "dump.sql"))
    return (home / "dump.sql").read_text()


def delete(servers: Servers) -> None:
    stores = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    result = CliRunner().invoke(main, ["learners", "delete", str(factories.ANN), "--yes"], env=stores)
    assert result.exit_code == 0, result.output
