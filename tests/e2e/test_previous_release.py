"""The processes of the previous release go on while a deploy migrates their database (I1, I2)."""

import json
import random
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text

import migrations
from cli.client import Answer, Sender
from shared.config import Settings
from shared.study.finalize import verify
from tests import factories
from tests.clients import Front, started
from tests.processes import BRISK, ROOT, Processes, processes, until

# Set it to the commit of a release when that is published: docs/operations.md, "Upgrading".
PREVIOUS = "fd4a0fbfdecd97b117c8ca627d9684b1142bea0b"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Unpack the code of the previous release."""
    git = shutil.which("git")
    archive = git and subprocess.run(
        [git, "-C", str(ROOT), "archive", PREVIOUS], capture_output=True, check=False
    )
    if not archive or archive.returncode:
        pytest.skip("the previous release is not in this copy: it needs git and the whole history")
    (tree := tmp_path / "previous").mkdir()
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")
    return tree


@pytest.fixture
def settings(settings: Settings, empty_database_url: str) -> Settings:
    return settings.model_copy(update={"database_url": empty_database_url})


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return create_engine(settings.database_url, poolclass=NullPool)


@pytest.fixture
def previous(settings: Settings, tree: Path) -> Iterator[Processes]:
    """Run the previous release, on a database that it has migrated and filled itself."""
    (tree / "logs").mkdir()
    (tree / "catalog.json").write_text(factories.many_learners().model_dump_json(exclude_defaults=True))
    with Processes(settings.model_copy(update=BRISK), tree / "logs", root=tree) as running:
        for command in (["migrate"], ["catalog", "load", "catalog.json"]):
            cli = [sys.executable, "-m", "cli", *command]
            subprocess.run(cli, cwd=tree, env=running.environment(), check=True)
        yield running


def final(engine: Engine) -> Counter[str]:
    with engine.connect() as connection:
        return Counter(connection.execute(text("SELECT status FROM uploads")).scalars())


def test_I1_I2_what_it_replays_on_the_newest_schema_is_right(
    engine: Engine, settings: Settings, previous: Processes, tree: Path, tmp_path: Path
) -> None:
    shown = [sys.executable, "-c", "import shared; print(shared.__path__[0])"]
    where = subprocess.run(
        shown, env=previous.environment(), cwd=tree, capture_output=True, text=True, check=True
    )
    assert Path(where.stdout.strip()) == tree / "shared"
    rng = random.Random(14)
    bodies: list[str] = []

    def send(viewer: Sender, uploads: list[dict[str, Any]]) -> None:
        bodies.extend(factories.body(upload) for upload in uploads)
        for body in bodies:  # those from before once more: they are known
            assert viewer.send(body).answer in {Answer.RECEIVED, Answer.ALREADY_INGESTED}

    def some() -> list[dict[str, Any]]:
        return [factories.random_upload(rng, learner=1 + n % 3) for n in range(12)]

    for name in ("worker", "sweeper"):
        previous.start(name)
    with Sender(previous.serve(), "viewer-token-of-tests") as viewer:
        front = Front(viewer.http, learner=1)
        session = started(front.start(topic=10))
        send(viewer, some())
        until(lambda: final(engine) == {"ingested": 12}, "they are replayed on its own schema")
        assert migrations.pending(settings.database_url) != []
        migrations.upgrade(settings.database_url)
        send(viewer, some())
        assert viewer.send(factories.body(factories.mixed(rng))).answer is Answer.RECEIVED
        conflicting = json.loads(bodies[0]) | {"finished_at": "2026-10-01T00:00:00Z"}
        assert viewer.send(json.dumps(conflicting)).answer is Answer.FAILED
        asked = front.read(session)["questions"][0]["pub_id"]
        assert front.answer(session, asked).status_code == 200
        assert front.finalize(session).status_code == 200
        until(lambda: final(engine) == {"ingested": 24, "rejected": 1}, "they are replayed on the newest")
    for name in ("web", "worker", "sweeper"):
        assert "failed" not in previous.output(name)
        assert '"level":"error"' not in previous.output(name)
        previous.kill(name)
    with processes(settings, tmp_path) as newest, Sender(newest.serve(), "viewer-token-of-tests") as viewer:
        newest.start("worker")
        send(viewer, some())
        until(lambda: final(engine)["ingested"] == 36, "the newest release goes on from there")
    with Sender(previous.serve(), "viewer-token-of-tests") as viewer:
        send(viewer, [])  # during a deploy, or after it was taken back: repeats are no conflicts
    assert [checked.differing for checked in verify(engine)] == [set()] * 3


def test_I1_processes_that_are_started_before_the_migration_wait_for_it(
    engine: Engine, settings: Settings, previous: Processes, tmp_path: Path
) -> None:
    assert previous.running == {}
    rng = random.Random(15)
    sent = [factories.body(factories.random_upload(rng, learner=1 + n % 3)) for n in range(12)]
    with processes(settings, tmp_path) as newest, Sender(newest.serve(), "viewer-token-of-tests") as viewer:
        for name in ("worker", "sweeper"):
            newest.start(name)
        assert {viewer.send(body).answer for body in sent} == {Answer.RECEIVED}
        until(lambda: "sweeper.failing" in newest.output("sweeper"), "the schema is missed")
        migrations.upgrade(settings.database_url)
        until(lambda: final(engine) == {"ingested": 12}, "every upload is replayed")
