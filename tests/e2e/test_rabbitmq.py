"""RabbitMQ serves as the broker by BROKER_URL alone (I1, I2, I9)."""

import random
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import amqp
import psutil
import pytest
from sqlalchemy import Engine, text

from cli.client import Answer, Sender
from shared.broker import REPLAY_QUEUE, enqueue, make_celery, queue_length
from shared.config import Settings
from shared.study.finalize import verify
from tests import factories
from tests.factories import statuses
from tests.faults import fast_replays, frozen, slow_replays
from tests.processes import PROCFILE, Processes, reachable_directory, until
from tests.rabbitmq import RabbitMQ, program, rabbitmq

BODY = '[["00000000-0000-4000-8000-000000000000"], {}, null]'
FATAL = "celery --app tests.fatal_worker worker --queues replay --without-gossip --without-mingle"


@pytest.fixture(scope="module")
def rabbit() -> Iterator[RabbitMQ]:
    found = program()
    if found is None:
        pytest.skip("RabbitMQ is not installed (Debian's package: rabbitmq-server)")
    with reachable_directory() as home, rabbitmq(found, home) as server:
        yield server


@pytest.fixture
def settings(settings: Settings, rabbit: RabbitMQ) -> Iterator[Settings]:
    """Name RabbitMQ as the broker, and nothing else; there is no spool then."""
    yield settings.model_copy(update={"broker_url": rabbit.url, "redis_url": ""})
    with rabbit.connect() as connection:
        connection.channel().queue_delete(REPLAY_QUEUE)


def send(viewer: Sender, uploads: int, seed: int = 1) -> None:
    rng = random.Random(seed)
    for n in range(uploads):
        upload = factories.random_upload(rng, learner=1 + n % 3, attempts=20)
        assert viewer.send(factories.body(upload)).answer is Answer.RECEIVED


def ends(engine: Engine) -> Counter[str]:
    return Counter(statuses(engine))


def test_messages_go_through_a_quorum_queue(
    engine: Engine, house: Processes, viewer: Sender, rabbit: RabbitMQ
) -> None:
    factories.load_many(engine)
    house.start("worker")
    send(viewer, 1)
    until(lambda: ends(engine) == {"ingested": 1}, "the upload is ingested")
    with rabbit.connect() as connection:
        arguments = {"x-queue-type": "quorum"}
        connection.channel().queue_declare(REPLAY_QUEUE, durable=True, auto_delete=False, arguments=arguments)
        with pytest.raises(amqp.PreconditionFailed, match="x-queue-type"):
            connection.channel().queue_declare(REPLAY_QUEUE, durable=True, auto_delete=False)


def test_the_depth_is_what_waits(engine: Engine, viewer: Sender, settings: Settings) -> None:
    factories.load_many(engine)
    app = make_celery(settings)
    assert queue_length(app) == 0, "a queue that does not exist yet has none"
    send(viewer, 1)
    until(lambda: queue_length(app) == 1, "a message waits")
    send(viewer, 1, seed=2)
    until(lambda: queue_length(app) == 2, "two messages wait")


def test_I1_an_upload_that_was_not_enqueued_is_swept(
    engine: Engine, house: Processes, viewer: Sender, rabbit: RabbitMQ
) -> None:
    factories.load_many(engine)
    send(viewer, 3)
    until(lambda: queue_length(make_celery(house.settings)) > 0, "they are enqueued")
    with rabbit.connect() as connection:
        assert connection.channel().queue_purge(REPLAY_QUEUE) > 0
    for name in ("worker", "sweeper"):
        house.start(name)
    until(lambda: ends(engine) == {"ingested": 3}, "the uploads are swept and ingested")


def test_I1_I2_kills_lose_and_double_nothing(engine: Engine, house: Processes, viewer: Sender) -> None:
    factories.load_many(engine)
    slow_replays(engine, 0.5)
    send(viewer, 100)
    house.start("sweeper")
    for kill in range(3):
        worker = house.start("worker", f"{PROCFILE['worker']} --concurrency 2")
        until(lambda kill=kill: ends(engine)["ingested"] > 10 * kill, "some are ingested")
        for child in psutil.Process(worker.pid).children(recursive=True):
            child.send_signal(signal.SIGKILL)
        house.kill("worker")
    assert ends(engine)["received"]
    fast_replays(engine)
    house.start("worker")
    until(lambda: ends(engine) == {"ingested": 100}, "every upload is ingested")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM study_question_attempts")) == 100 * 20
    assert [checked.differing for checked in verify(engine)] == [set()] * 3


def test_I9_a_message_that_comes_again_after_a_kill_is_counted(
    engine: Engine, house: Processes, viewer: Sender, tmp_path: Path
) -> None:
    factories.load_many(engine)
    tally = tmp_path / "tally"
    house.start("worker", FATAL, FATAL_WAY="exit", FATAL_TALLY=str(tally))
    house.start("sweeper")
    fatal = factories.random_upload(random.Random(4), learner=1)
    fatal["attempts"][0]["pub_id"] = "q-fatal"
    viewer.send(factories.body(fatal))
    send(viewer, 3)
    until(lambda: ends(engine) == {"dead": 1, "ingested": 3}, "every upload is final")
    assert len(tally.read_text()) == house.settings.max_tries


def test_I1_a_frozen_broker_delays_no_sender_and_is_given_up_on(
    engine: Engine, house: Processes, viewer: Sender, rabbit: RabbitMQ
) -> None:
    factories.load_many(engine)
    send(viewer, 1, seed=2)
    # Sent at once: the next message goes over the same connection, not over a new one that counts messages.
    until(lambda: queue_length(make_celery(house.settings)) == 1, "a message waits")
    with frozen(rabbit.pid):
        send(viewer, 5)
        until(lambda: "enqueue.failed" in house.output("web"), "a message is given up")
    for name in ("worker", "sweeper"):
        house.start(name)
    until(lambda: ends(engine) == {"ingested": 6}, "every upload is ingested")


def test_a_sender_goes_on_to_the_next_broker_if_the_first_hangs(settings: Settings, rabbit: RabbitMQ) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//"
        app = make_celery(settings.model_copy(update={"broker_url": f"{first};{rabbit.url}"}))
        with app.producer_pool.acquire(block=True) as producer:
            enqueue(producer, app, [uuid4()])
    assert queue_length(make_celery(settings)) == 1


def test_I1_I2_restarts_under_load_lose_and_double_nothing(
    engine: Engine, house: Processes, viewer: Sender, rabbit: RabbitMQ
) -> None:
    factories.load_many(engine)
    processes = {name: house.start(name) for name in ("worker", "sweeper")}
    # The kill comes second: RabbitMQ 3.10 may lose a quorum queue that is only seconds old.
    for seed, end in ((1, rabbit.stop), (2, rabbit.kill)):
        send(viewer, 30, seed)
        end()
        send(viewer, 10, seed + 10)
        rabbit.start_again()
    until(lambda: ends(engine) == {"ingested": 80}, "every upload is ingested")
    assert [process.poll() for process in processes.values()] == [None, None]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM study_question_attempts")) == 80 * 20
    assert [checked.differing for checked in verify(engine)] == [set()] * 3


def test_a_malformed_message_is_refused_and_the_queue_goes_on(
    engine: Engine, house: Processes, viewer: Sender, rabbit: RabbitMQ
) -> None:
    factories.load_many(engine)
    sound = {"task": "replay_uploads", "id": str(uuid4())}
    wrong = [
        *(amqp.Message(body, application_headers=sound) for body in ("null", "{}", "[[7], {}, null]")),
        *(
            amqp.Message(BODY, application_headers=sound | each)
            for each in (
                {"task": []},
                {"timelimit": [1, "x"]},
                {"compression": "zlib"},
                {"eta": "2999-01-01"},
            )
        ),
        amqp.Message(BODY),
    ]
    worker = house.start("worker")
    send(viewer, 1)
    until(lambda: ends(engine) == {"ingested": 1}, "the worker has made its queue")
    with rabbit.connect() as connection:
        for each in wrong:
            each.properties |= {"content_type": "application/json", "content_encoding": "utf-8"}
            connection.channel().basic_publish(each, routing_key=REPLAY_QUEUE)
    send(viewer, 1, seed=2)
    until(lambda: ends(engine) == {"ingested": 2}, "the upload behind them is ingested")
    assert worker.poll() is None
    assert house.output("worker").count("task_message.refused") == len(wrong)
