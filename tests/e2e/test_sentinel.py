"""Redis behind Sentinel, as broker and spool by their URLs alone; its master dies (I1, I2)."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from cli.client import PATH, Sender
from cli.local.servers import Servers
from shared import spool
from shared.config import Settings
from tests import factories, sentinel
from tests.faults import frozen
from tests.processes import Processes, free_port, until

pytestmark = pytest.mark.skipif(bool(sentinel.why_not()), reason=sentinel.why_not())
EVERY_S = 0.05


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[sentinel.Replicated]:
    (tmp_path / "redis").mkdir()
    with sentinel.replicated(tmp_path / "redis") as servers:
        yield servers


@pytest.fixture
def settings(settings: Settings, replicated: sentinel.Replicated) -> Settings:
    return settings.model_copy(update={"broker_url": replicated.url(0), "redis_url": replicated.url(1)})


def send(viewer: Sender, rng: random.Random) -> str:
    answer = viewer.http.post(PATH, json=factories.random_upload(rng, learner=1))
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in answer.headers:
        return "503"
    return "202" if answer.status_code == httpx.codes.ACCEPTED else answer.text


def test_I1_I2_uploads_go_on_through_a_fail_over_of_broker_and_spool(
    engine: Engine, house: Processes, viewer: Sender, replicated: sentinel.Replicated, servers: Servers
) -> None:
    factories.load_many(engine)
    for name in ("worker", "sweeper"):
        house.start(name)
    rng = random.Random(1)
    assert send(viewer, rng) == "202"
    until(lambda: factories.statuses(engine) == ["ingested"], "a message reaches a worker")
    replicated.kill_master()
    answers = Counter(send(viewer, rng) for _ in range(20))
    assert {*answers} == {"202"}
    with frozen(servers.postgres.pid):
        until(lambda: send(viewer, rng) == "202", "the new master takes what Postgres does not")
        time.sleep(EVERY_S)
        with spool.connect(replicated.url(1)) as redis:
            assert spool.spooled(redis) == 1
    until(lambda: factories.statuses(engine) == ["ingested"] * 22, "everything is ingested")
    assert [house.running[name].poll() for name in ("web", "worker", "sweeper")] == [None] * 3


def test_flower_shows_the_worker_behind_sentinel(house: Processes) -> None:
    house.start("worker")
    port = free_port()
    house.start("flower", FLOWER_BASIC_AUTH="name:password", FLOWER_PORT=str(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=("name", "password"), trust_env=False) as web:
        until(lambda: "worker@" in shown(web), "Flower shows the worker")


def shown(web: httpx.Client) -> str:
    try:
        return web.get("/workers?refresh=1").text
    except httpx.TransportError:
        return ""
