"""A backlog waits in Postgres: it never grows the broker, and none of it becomes dead (I9)."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from api.publisher import LENGTH_EVERY_S
from cli.client import Sender
from cli.local.servers import Servers
from shared.broker import MESSAGE_SIZE, REPLAY_QUEUE
from shared.config import Settings
from tests import factories
from tests.processes import Processes, processes, until

MARK = 10
WAITING = 2 * MARK * MESSAGE_SIZE

# Copies of one upload, but for the uuid: made by the database, as many as one likes.
COPY = text("""
    INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, next_try_at)
    SELECT id, jsonb_set(payload, '{client_session_uuid}', to_jsonb(id)), content_hash, now(), now()
    FROM (SELECT gen_random_uuid() AS id, payload, content_hash
        FROM uploads, generate_series(1, :count)) AS copies
""")


@pytest.fixture
def house(settings: Settings, tmp_path: Path) -> Iterator[Processes]:
    low = settings.model_copy(update={"queue_limit": MARK})
    with processes(low, tmp_path) as running:
        yield running


def statuses(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return dict(connection.execute(text("SELECT status, count(*) FROM uploads GROUP BY 1")).all())


def test_I9_a_backlog_fills_the_queue_to_its_mark_and_no_higher(
    engine: Engine, house: Processes, viewer: Sender, servers: Servers
) -> None:
    factories.load_many(engine)
    viewer.send(factories.body(factories.random_upload(random.Random(1), 1, attempts=2)))
    with Redis.from_url(servers.redis_url.replace("db=1", "db=0")) as broker:
        until(lambda: broker.llen(REPLAY_QUEUE) == 1, "the web process has enqueued it")
        with engine.begin() as connection:
            connection.execute(COPY, {"count": WAITING})
        house.start("sweeper")
        until(lambda: broker.llen(REPLAY_QUEUE) == MARK, "the sweeper fills the queue")
        time.sleep(LENGTH_EVERY_S)  # the web process looks at the queue's length as often as that
        for seed in range(2, 12):
            viewer.send(factories.body(factories.random_upload(random.Random(seed), 1, attempts=2)))
        assert broker.llen(REPLAY_QUEUE) == MARK, "above half the mark only the sweeper enqueues"
        house.start("worker")
        deepest = 0
        while "received" in statuses(engine):
            deepest = max(deepest, broker.llen(REPLAY_QUEUE))
    assert deepest <= MARK
    assert statuses(engine) == {"ingested": WAITING + 11}


def test_I9_a_bad_upload_fails_alone_among_those_of_its_message(
    engine: Engine, house: Processes, viewer: Sender
) -> None:
    factories.load_many(engine)
    viewer.send(factories.body(factories.random_upload(random.Random(1), 1, attempts=2)))
    spoil = text("""
        UPDATE uploads SET payload = '{}' WHERE client_session_uuid IN
            (SELECT client_session_uuid FROM uploads WHERE next_try_at <= now() ORDER BY 1 OFFSET 3 LIMIT 1)
    """)
    with engine.begin() as connection:
        connection.execute(COPY, {"count": MESSAGE_SIZE - 1})
        connection.execute(spoil)
    for name in ("sweeper", "worker"):
        house.start(name)
    until(lambda: statuses(engine).get("ingested") == MESSAGE_SIZE - 1, "its neighbours are ingested")
    until(lambda: statuses(engine).get("dead"), "it is dead")
    with engine.connect() as connection:
        error = connection.execute(text("SELECT last_error FROM uploads WHERE status = 'dead'")).scalar_one()
    assert error.startswith("ValidationError")
