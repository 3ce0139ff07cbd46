"""A malformed message costs one log event: the worker goes on, and nothing of the message is quoted (I11)."""

import base64
import json
import random
import time
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from sqlalchemy import Engine

from cli.client import Answer, Sender
from cli.local.servers import Servers
from shared import broker
from tests import factories
from tests.factories import statuses
from tests.processes import PROCFILE, Processes, until
from worker.consumer import EVENTS_PAUSE_S

SECRET = "quoted-by-nobody"
REFUSED = "task_message.refused"
LATER = "2999-01-01T00:00:00+00:00"
# Some sweeps, and a start of a worker.
REFUSED_S = 6.0
TASKS = 200
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def queue(broker_url: str, servers: Servers) -> Iterator[Redis]:
    """Return Redis with the workers' queue."""
    assert broker_url
    with Redis.from_url(servers.redis_url.replace("db=1", "db=0"), decode_responses=True) as redis:
        yield redis


@pytest.fixture
def sound(queue: Redis, house: Processes) -> dict[str, Any]:
    """Take a message as we send it, of an upload that nobody has sent."""
    app = broker.make_celery(house.settings)
    with app.producer_pool.acquire() as producer:
        broker.enqueue(producer, app, [uuid4()])
    message: dict[str, Any] = json.loads(str(queue.rpop(broker.REPLAY_QUEUE)))
    return message


def send(viewer: Sender, rng: random.Random) -> None:
    sent = viewer.send(factories.body(factories.random_upload(rng, learner=1)))
    assert sent.answer is Answer.RECEIVED


def with_body(sound: dict[str, Any], body: bytes) -> dict[str, Any]:
    return sound | {"body": base64.b64encode(body).decode()}


def malformed(sound: dict[str, Any]) -> list[str]:
    """Return what a stranger or a fault may leave in the queue, or a broker that was shared may hold."""
    bodies = [
        *(b"null", b"{}", b"[]", b"7", b"", b"\xff\xfe", b"[[], {}", SECRET.encode(), b"[" * 5000),
        *(b"[{}, [], null]", b"[[7], {}, null]", b"[[], {}, null]", b"[[null], {}, {}]"),
        f'[["{SECRET}"], {{}}, null]'.encode(),
        f'[["{NOBODY}"], {{"{SECRET}": 1}}, null]'.encode(),
        f'[["{NOBODY}"], {{"again": "{SECRET}"}}, null]'.encode(),
        f'[["{NOBODY}"], {{}}, {{"chain": [{{"task": "{SECRET}"}}]}}]'.encode(),
        b'[[{"__type__": "uuid", "__value__": 7}], {}, null]',
        json.dumps([[NOBODY] * (broker.MESSAGE_SIZE + 1), {}, None]).encode(),
    ]
    headers: list[dict[str, Any]] = [
        *({"task": wrong} for wrong in ([], {}, None, 7, SECRET, "celery.backend_cleanup")),
        *({"id": wrong} for wrong in ([SECRET], None, 7, SECRET)),
        *({"timelimit": wrong} for wrong in ([1, "x"], SECRET, [0.001, 0.001], 7)),
        *({"eta": wrong} for wrong in (LATER, SECRET, 7, [])),
        *({"expires": wrong} for wrong in (LATER, SECRET)),
        *({"compression": wrong} for wrong in ("gzip", SECRET, [])),
    ]
    properties: list[dict[str, Any]] = [
        *({"delivery_tag": wrong} for wrong in (None, [], {})),
        *({"delivery_info": wrong} for wrong in (None, [], {}, {"exchange": [], "routing_key": 7})),
        *({"body_encoding": wrong} for wrong in (SECRET, [])),
    ]
    bomb = with_body(sound, zlib.compress(b"0" * 1000))
    return [
        *(json.dumps(with_body(sound, body)) for body in bodies),
        *(json.dumps(sound | {"headers": sound["headers"] | each}) for each in headers),
        *(json.dumps(sound | {"headers": wrong}) for wrong in (None, [], SECRET, {SECRET: 1})),
        *(json.dumps(sound | {"properties": sound["properties"] | each}) for each in properties),
        *(json.dumps(sound | {"properties": wrong}) for wrong in (None, [], SECRET)),
        *(
            json.dumps(sound | {"content-type": wrong})
            for wrong in (None, [], SECRET, "application/x-python")
        ),
        json.dumps(bomb | {"headers": sound["headers"] | {"compression": "zlib"}}),
        *("", "?", "null", "[]", "7", "{}", SECRET, "[" * 5000),
    ]


def unrestorable(sound: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return what may lie among messages that a worker took, and that the next one gives back at its start.

    The first are no entries at all, the others lead nowhere. It gives back ten at once.
    """
    entries = [json.dumps([wrong, "", broker.REPLAY_QUEUE]) for wrong in (SECRET, {"headers": SECRET})]
    entries += [json.dumps([sound, wrong, SECRET]) for wrong in ([SECRET], {SECRET: 1}, SECRET)]
    return [*(json.dumps(wrong) for wrong in (SECRET, [SECRET], {SECRET: 1}, 7)), SECRET], entries


def test_a_malformed_message_is_refused_and_the_queue_goes_on(
    engine: Engine, house: Processes, viewer: Sender, queue: Redis, sound: dict[str, Any]
) -> None:
    factories.load_many(engine)
    wrong = malformed(sound)
    for each in wrong:
        queue.lpush(broker.REPLAY_QUEUE, each)
    queue.lpush(broker.REPLAY_QUEUE, b"\xff\xfe")
    broken, astray = unrestorable(sound)
    for place, each in enumerate([*broken, *astray]):
        queue.hset("unacked", f"tag{place}", each)
        queue.zadd("unacked_index", {f"tag{place}": 0})
    worker = house.start("worker")
    send(viewer, random.Random(1))
    until(lambda: statuses(engine) == ["ingested"], "the upload behind them is ingested")
    output = house.output("worker")
    assert worker.poll() is None, output
    events = [line for line in output.splitlines() if REFUSED in line]
    assert len(events) == len(wrong) + 1 + len(broken)
    assert SECRET not in output
    assert "Traceback" not in output
    until(lambda: queue.hlen("unacked") == 0, "none comes back after a restart")


def test_I11_an_order_for_workers_that_is_none_is_not_quoted(
    engine: Engine, house: Processes, viewer: Sender
) -> None:
    """Flower and `doctor` send them, by the broker; so may a stranger."""
    factories.load_many(engine)
    house.start("worker")
    app = broker.make_celery(house.settings)
    send(viewer, random.Random(1))
    until(lambda: statuses(engine) == ["ingested"], "the worker runs")
    app.control.broadcast(SECRET)
    app.control.broadcast("revoke", arguments={SECRET: 1})
    app.control.broadcast("revoke", arguments={"task_id": [SECRET]})
    until(lambda: house.output("worker").count("pidbox command error") == 2, "two are refused")
    until(lambda: app.control.inspect(timeout=5).ping(), "the worker answers all the same")
    assert SECRET not in house.output("worker")


def test_events_of_tasks_are_sent_together(house: Processes, queue: Redis) -> None:
    """Each message to Flower costs a worker as much as taking a task does."""
    house.start("worker")
    app = broker.make_celery(house.settings)
    until(lambda: app.control.inspect(timeout=5).ping(), "the worker runs")
    before, began = published(queue), time.monotonic()
    with app.producer_pool.acquire() as producer:
        for _ in range(TASKS):
            broker.enqueue(producer, app, [uuid4()])
    until(lambda: house.output("worker").count("upload.nothing_to_replay") == TASKS, "all tasks end")
    seconds = time.monotonic() - began
    sent = published(queue) - before
    # A message for each pause and each heartbeat, and one whenever Celery's buffer is full: at 24 events.
    # Celery by itself: 444 messages in 1.2 s.
    assert 0 < sent <= seconds / EVENTS_PAUSE_S + seconds + TASKS * 3 / 24 + 20, (sent, seconds)


def published(queue: Redis) -> int:
    count: int = queue.info("commandstats").get("cmdstat_publish", {}).get("calls", 0)
    return count


def refuse(queue: Redis, how: str) -> None:
    """Let Redis answer, but take nothing."""
    if how == "read-only":  # as after a fail-over
        queue.replicaof("127.0.0.1", "1")
    elif how == "forbidden":
        queue.execute_command("ACL", "SETUSER", "default", "-@write")
    elif how == "forbidden to wait":
        queue.execute_command("ACL", "SETUSER", "default", "-brpop")
    else:
        queue.config_set("maxmemory", 1)


def accept(queue: Redis) -> None:
    queue.replicaof("NO", "ONE")
    queue.execute_command("ACL", "SETUSER", "default", "+@all")
    queue.config_set("maxmemory", 0)


@pytest.mark.parametrize("how", ["read-only", "forbidden", "forbidden to wait", "full"])
def test_I1_while_redis_refuses_uploads_are_accepted_and_every_process_comes_back(
    engine: Engine, house: Processes, viewer: Sender, queue: Redis, how: str
) -> None:
    factories.load_many(engine)
    names = ("worker", "sweeper")
    for name in names:
        house.start(name)
    rng = random.Random(1)
    send(viewer, rng)
    until(lambda: statuses(engine) == ["ingested"], "everything runs")
    refuse(queue, how)
    try:
        send(viewer, rng)
        house.start("late", PROCFILE["worker"].replace("worker@", "late@"))
        time.sleep(REFUSED_S)
        send(viewer, rng)
    finally:
        accept(queue)
    send(viewer, rng)
    until(lambda: statuses(engine) == ["ingested"] * 4, "everything is ingested")
    assert [house.running[name].poll() for name in (*names, "late")] == [None] * 3
