"""Web, workers and stores on hosts of their own: one that is cut off loses and doubles nothing (I1, I2)."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

import migrations
from shared.config import Settings
from shared.study.finalize import verify
from tests import factories
from tests.factories import statuses
from tests.faults import fast_replays, slow_replays
from tests.hosts import Host, hosts, why_not
from tests.processes import PROCFILE, ROOT, Processes, processes, reachable_directory, until
from tests.stores_over_tcp import BROKER_PORT

WEB_PORT = 8000
# A transaction of a host that is in the middle of a replay.
REPLAYS = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE client_addr = CAST(:address AS inet) AND xact_start IS NOT NULL AND query LIKE '%study_q%'
""")


@dataclass
class Site:
    """Four hosts, what runs there, and a way past the network to the database."""

    store: Host
    web: Host
    workers: list[Host]
    house: Processes
    engine: Engine

    def work_on(self, number: int) -> None:
        name = f"worker{number}"
        self.house.start(
            name, self.workers[number].command(PROCFILE["worker"].replace("worker@", f"{name}@"))
        )

    def upload(self, uploads: list[str]) -> str:
        """Send from the store's host."""
        file = self.house.logs / "uploads.ndjson"
        file.write_text("\n".join(uploads))
        url = f"http://{self.web.address}:{WEB_PORT}"
        script = f"{sys.executable} -c 'from cli.main import main; main()' upload {file} --url {url}"
        command = self.store.command(f"{script} --token viewer-token-of-tests")
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout

    def replays_on(self, host: Host) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(REPLAYS, {"address": host.address}).scalar_one())

    def cut_off_within_a_replay(self, host: Host) -> None:
        """Pull the cable until a transaction is left open behind it."""
        while True:
            until(lambda: self.replays_on(host), "a replay is in its transaction")
            host.cut_off()
            if self.replays_on(host):
                return
            host.connect()

    def ends(self) -> Counter[str]:
        return Counter(statuses(self.engine))


@pytest.fixture
def stores(network: list[Host]) -> Iterator[str]:
    """Run Postgres and Valkey on the first host; tell the way to the database by its socket."""
    command = [sys.executable, "-m", "tests.stores_over_tcp"]
    with reachable_directory() as home:
        at = network[0].command(" ".join([*command, str(home / "servers"), network[0].address]))
        with subprocess.Popen(
            ["/bin/sh", "-c", f"exec {at}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            yield process.stdout.readline().strip()
            process.communicate()


@pytest.fixture
def network() -> Iterator[list[Host]]:
    if reason := why_not():
        pytest.skip(reason)
    with hosts(4) as made_hosts:
        yield made_hosts


@pytest.fixture
def site(network: list[Host], stores: str, tmp_path: Path) -> Iterator[Site]:
    store, web, *workers = network
    migrations.upgrade(stores)
    engine = create_engine(stores, poolclass=NullPool)
    settings = Settings(
        database_url=f"postgresql://study@{store.address}/study_ingest?sslmode=disable",
        broker_url=f"redis://{store.address}:{BROKER_PORT}/0",
        redis_url=f"redis://{store.address}:{BROKER_PORT}/1",
        study_ingest_enabled=True,
        viewer_sync_token="viewer-token-of-tests",
        host=web.address,
        port=WEB_PORT,
    )
    with processes(settings, tmp_path) as house:
        house.start("web", web.command(PROCFILE["web"]))
        house.start("sweeper", store.command(PROCFILE["sweeper"]))
        yield Site(store, web, workers, house, engine)


def test_I1_I2_a_worker_host_that_is_cut_off_in_a_transaction_loses_and_doubles_nothing(site: Site) -> None:
    factories.load_many(site.engine)
    slow_replays(site.engine, 1)  # to be cut off in the middle on any machine, within every limit
    rng = random.Random(1)
    uploads = [factories.random_upload(rng, 1 + n % 3) for n in range(60)]
    bodies = [factories.body(upload) for upload in uploads]
    lost = site.workers[0]
    for number in range(2):
        site.work_on(number)
    until(lambda: "web.started" in site.house.output("web"), "the web process runs")
    assert "30 received" in site.upload(bodies[:30])
    site.cut_off_within_a_replay(lost)
    fast_replays(site.engine)
    until(lambda: site.ends() == {"ingested": 30}, "the other host does all")
    lost.connect()
    site.house.kill("worker1")
    assert "30 received" in site.upload(bodies[30:])
    until(lambda: site.ends() == {"ingested": 60}, "the host that is back does the rest")
    with site.engine.connect() as connection:
        kept = connection.scalar(text("SELECT count(*) FROM study_question_attempts"))
    assert kept == sum(len(upload["attempts"]) for upload in uploads)
    assert [checked.differing for checked in verify(site.engine)] == [set()] * 3
