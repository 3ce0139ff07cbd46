"""A standby takes over under load: every process finds it by itself, nothing is lost or doubled (I1, I2)."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import Engine

import migrations
from cli.client import Answer, Sender
from cli.local.servers import DATABASE, PORT, USER
from shared.config import Settings
from shared.db import make_engine
from shared.study.finalize import verify
from tests import factories
from tests.factories import statuses
from tests.hosts import Host, hosts, why_not
from tests.processes import PROCFILE, ROOT, Processes, processes, reachable_directory, until
from tests.standby import Pair, pair, promote, url


@pytest.fixture
def stores() -> Iterator[Pair]:
    with reachable_directory() as home, pair(home) as made:
        yield made


@pytest.fixture
def settings(settings: Settings, stores: Pair) -> Settings:
    both = url(stores.primary, stores.standby)
    migrations.upgrade(both)
    return settings.model_copy(update={"database_url": both})


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """Follow the primary as the processes do."""
    engine = make_engine(settings, pre_ping=True, scanning=True)
    yield engine
    engine.dispose()


class Load:
    """Send one upload after the other from a thread, until it is stopped."""

    def __init__(self, viewer: Sender) -> None:
        self.answers: list[Answer] = []
        self._viewer = viewer
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _send(self) -> None:
        rng = random.Random(8)
        while not self._stopped.is_set():
            upload = factories.random_upload(rng, learner=1 + len(self.answers) % 3)
            self.answers.append(self._viewer.send(factories.body(upload)).answer)
            time.sleep(0.05)


def new(house: Processes) -> int:
    """Count the uploads that Postgres, not the spool, recorded for the web process."""
    return house.output("web").count('"verdict":"new"')


def test_I1_I2_a_promoted_standby_is_found_by_every_process(
    engine: Engine, house: Processes, viewer: Sender, stores: Pair
) -> None:
    factories.load_many(engine)
    for name in ("worker", "sweeper"):
        house.start(name)

    def ends() -> Counter[str]:
        return Counter(statuses(engine))

    with Load(viewer) as load:
        until(lambda: ends()["ingested"] >= 5, "uploads are replayed")
        stores.primary.kill()
        time.sleep(1)
        promote(stores.standby)
        recorded = new(house)
        until(lambda: new(house) > recorded, "uploads are recorded by the new primary")
    assert set(load.answers) == {Answer.RECEIVED}
    until(lambda: ends() == {"ingested": len(load.answers)}, "every upload is ingested")
    assert [checked.differing for checked in verify(engine)] == [set()] * 3


def test_I1_processes_that_found_only_a_standby_go_on_when_it_is_promoted(
    engine: Engine, settings: Settings, stores: Pair, tmp_path: Path
) -> None:
    factories.load_many(engine)
    alone = settings.model_copy(update={"database_url": url(stores.standby)})
    with processes(alone, tmp_path) as house, Sender(house.serve(), "viewer-token-of-tests") as viewer:
        for name in ("worker", "sweeper"):
            house.start(name)
        with Load(viewer) as load:
            until(lambda: len(load.answers) > 10, "uploads are accepted")
            assert new(house) == 0
            stores.primary.kill()
            promote(stores.standby)
            until(lambda: new(house) > 0, "uploads are recorded by Postgres")
        assert set(load.answers) == {Answer.RECEIVED}
        until(lambda: statuses(engine) == ["ingested"] * len(load.answers), "every upload is ingested")


@pytest.fixture
def network() -> Iterator[list[Host]]:
    if reason := why_not():
        pytest.skip(reason)
    with hosts(3) as made:
        yield made


def test_I1_a_primary_whose_host_vanishes_is_given_up(
    engine: Engine, settings: Settings, stores: Pair, network: list[Host], tmp_path: Path
) -> None:
    """Nothing refuses and nothing is reset: what is sent there is lost."""
    factories.load_many(engine)
    *databases, app = network
    alone = settings.model_copy(update={"database_url": url(stores.standby)})
    promoted = make_engine(alone, scanning=True)
    both = ",".join(f"{host.address}:{PORT}" for host in databases)
    there = {
        "database_url": f"postgresql://{USER}@{both}/{DATABASE}?sslmode=disable",
        "host": app.address,
        "port": 8000,
    }
    rng = random.Random(9)
    with processes(settings.model_copy(update=there), tmp_path) as house:

        def send(number: int) -> str:
            bodies = [factories.body(factories.random_upload(rng, learner=1)) for _ in range(number)]
            (file := tmp_path / "uploads.ndjson").write_text("\n".join(bodies))
            url = f"http://{app.address}:8000"
            command = app.command(f"{sys.executable} -m cli upload {file} --url {url}")
            argv = [*command.split(), "--token", "viewer-token-of-tests"]
            return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout

        for host, server in zip(databases, (stores.primary, stores.standby), strict=True):
            path = server.sockets / f".s.PGSQL.{PORT}"
            relay = f"{sys.executable} -m tests.relay {host.address} {PORT} {path}"
            house.start(f"relay{host.address}", host.command(relay))
        for name in ("web", "worker", "sweeper"):
            house.start(name, app.command(PROCFILE[name]))
        until(lambda: "web.started" in house.output("web"), "the web process runs")
        until(lambda: send(3) and new(house), "uploads are recorded")
        databases[0].cut_off()
        assert "3 received" in send(3)
        promote(stores.standby)
        recorded = new(house)
        until(lambda: send(1) and new(house) > recorded, "uploads are recorded by the new primary")
        until(lambda: set(statuses(promoted)) == {"ingested"}, "every upload is ingested")
    promoted.dispose()
