"""Webhooks on their way: whatever dies or hangs, they arrive, and uploads do not wait for them."""

import base64
import random

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine, text

from cli.client import Answer, Sender
from cli.local.servers import Servers
from shared.config import Settings
from tests import factories
from tests.processes import PATIENCE_S, Processes, until
from tests.receiver import NEW_SECRET, OLD_SECRET, TOKEN, Receiver, hang, status


@pytest.fixture
def settings(settings: Settings, receiver: Receiver) -> Settings:
    """Name the receiver to every process of the house."""
    return settings.model_copy(
        update={
            "webhook_url": receiver.url,
            "webhook_secrets": SecretStr(f"{OLD_SECRET},{NEW_SECRET}"),
            "webhook_timeout": 10.0,
        }
    )


def fates(engine: Engine) -> list[tuple[str, int]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT status, tries FROM outbox"))
        return [(row.status, row.tries) for row in rows]


def waiting(engine: Engine) -> int:
    return [fate for fate, _ in fates(engine)].count("waiting")


def send(viewer: Sender, seed: int, uploads: int = 1) -> None:
    rng = random.Random(seed)
    for _ in range(uploads):
        assert viewer.send(factories.body(factories.random_upload(rng, learner=1))).answer is Answer.RECEIVED


def ingested(engine: Engine) -> int:
    count = text("SELECT count(*) FROM uploads WHERE status = 'ingested'")
    with engine.connect() as connection:
        return int(connection.execute(count).scalar_one())


def test_failed_webhooks_are_sent_again_and_no_log_has_their_content(
    engine: Engine, house: Processes, viewer: Sender, receiver: Receiver
) -> None:
    factories.load_many(engine)
    receiver.then(status(500, b"pardon?"), status(429), status(200))
    for name in ("worker", "sweeper"):
        house.start(name, WEBHOOK_TIMEOUT="600")
    send(viewer, seed=1)
    until(lambda: fates(engine) and not waiting(engine), "every webhook is delivered")
    assert {fate for fate, _ in fates(engine)} == {"delivered"}
    assert len(receiver.verified()) == len(receiver.verified(OLD_SECRET)) == len(fates(engine)) + 2
    assert len({request.id for request in receiver.requests}) == len(fates(engine))
    logged = "".join(house.output(name) for name in house.running)
    assert logged.count("webhook.failed") == 2
    for private in (TOKEN, NEW_SECRET, OLD_SECRET, "q-1-", "pardon", "explain_misses"):
        assert private not in logged


def test_I1_a_sweeper_dies_between_claim_and_answer(
    engine: Engine, house: Processes, viewer: Sender, receiver: Receiver, servers: Servers
) -> None:
    factories.load_many(engine)
    house.start("worker")
    send(viewer, seed=3)
    until(lambda: ingested(engine), "the upload is ingested")
    house.kill("worker")
    with Redis.from_url(servers.redis_url) as redis:
        redis.flushall()
    asked = len(fates(engine))
    assert waiting(engine) == asked > 0
    assert receiver.requests == []

    receiver.then(hang(receiver))
    house.start("sweeper")
    until(lambda: len(receiver.requests) == asked, "all are on their way")
    house.kill("sweeper")
    assert fates(engine) == [("waiting", 1)] * asked
    receiver.then(status(200))
    house.start("sweeper")
    until(lambda: not waiting(engine), "they are delivered when their lease is over")
    assert fates(engine) == [("delivered", 2)] * asked
    assert sorted(request.id for request in receiver.verified()[:asked]) == sorted(
        request.id for request in receiver.verified()[asked:]
    )


def test_I12_a_receiver_that_hangs_delays_no_upload(
    engine: Engine, house: Processes, viewer: Sender, receiver: Receiver
) -> None:
    factories.load_many(engine)
    receiver.then(hang(receiver))
    for name in ("worker", "sweeper"):
        house.start(name, WEBHOOK_TIMEOUT="600")
    send(viewer, seed=4)
    until(lambda: len(receiver.requests) == len(fates(engine)) > 0, "the receiver hangs")
    send(viewer, seed=5, uploads=50)
    until(lambda: ingested(engine) == 51, "all are ingested meanwhile")
    assert {fate for fate, _ in fates(engine)} == {"waiting"}
    receiver.released.set()
    until(lambda: not waiting(engine), "then all webhooks are delivered")
    assert set(fates(engine)) == {("delivered", 1)}


def test_it_refuses_to_start_with_a_malformed_secret(house: Processes) -> None:
    malformed = base64.b64encode(b"short").decode()
    house.start("sweeper", WEBHOOK_SECRETS=malformed)
    assert house.running.pop("sweeper").wait(PATIENCE_S) != 0
    assert "WEBHOOK_SECRETS" in house.output("sweeper")
    assert malformed not in house.output("sweeper")
