"""Whatever dies or is lost on the way, an accepted upload comes to its right end, once (I1, I2, I9, I11)."""

import json
import os
import random
import re
import signal
from typing import Any
from uuid import UUID

import psutil
import pytest
from redis import Redis
from sqlalchemy import Engine, text

from cli.client import Answer, Sender
from cli.local.servers import Servers
from shared.broker import REPLAY_QUEUE, enqueue, make_celery
from shared.study.finalize import verify
from shared.uploads import receive
from tests import factories
from tests.faults import fast_replays, refuse_answers, slow_replays
from tests.processes import PROCFILE, Processes, until


def statuses(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return dict(connection.execute(text("SELECT status, count(*) FROM uploads GROUP BY 1")).all())


def finished(engine: Engine) -> bool:
    return "received" not in statuses(engine)


def upload_row(engine: Engine, uuid: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(
            text("SELECT * FROM uploads WHERE client_session_uuid = :id"), {"id": UUID(uuid)}
        ).one()


def test_a_message_is_worked_off_at_once(engine: Engine, house: Processes, viewer: Sender) -> None:
    factories.load_many(engine)
    house.start("worker")
    upload = factories.random_upload(random.Random(1), learner=1)
    assert viewer.send(factories.body(upload)).answer is Answer.RECEIVED
    until(lambda: finished(engine), "the upload is final")
    row = upload_row(engine, upload["client_session_uuid"])
    assert (row.status, row.tries, row.user_id) == ("ingested", 1, 1)
    assert viewer.send(factories.body(upload)).answer is Answer.ALREADY_INGESTED
    assert len(viewer.status(upload["client_session_uuid"])["result"]["attempts"]) == len(upload["attempts"])


def test_I1_an_upload_that_was_not_enqueued_is_swept(
    engine: Engine, house: Processes, viewer: Sender, servers: Servers
) -> None:
    factories.load_many(engine)
    upload = factories.random_upload(random.Random(2), learner=1)
    assert viewer.send(factories.body(upload)).answer is Answer.RECEIVED
    with Redis.from_url(servers.redis_url.replace("db=1", "db=0")) as broker:
        until(lambda: broker.llen(REPLAY_QUEUE), "it is enqueued")
        broker.flushall()
    for name in ("worker", "sweeper"):
        house.start(name)
    until(lambda: finished(engine), "the upload is swept and ingested")
    assert statuses(engine) == {"ingested": 1}
    uuid = upload["client_session_uuid"]
    until(lambda: "upload.replayed" in told_of(house, uuid, "worker"), "the worker tells of it")
    until(lambda: "uploads.enqueued_by_sweeper" in told_of(house, uuid, "sweeper"), "the sweeper tells of it")
    assert list(told_of(house, uuid, "web")) == ["upload.received"]
    assert told_of(house, uuid, "worker")["upload.replayed"]["status"] == "ingested"


def told_of(house: Processes, uuid: str, name: str) -> dict[str, dict[str, Any]]:
    """Return the events in a process' log that name an upload."""
    lines = [json.loads(line) for line in house.output(name).splitlines() if uuid in line]
    return {line["event"]: line for line in lines if "." in line["event"]}


@pytest.fixture
def angry(engine: Engine) -> None:
    refuse_answers(engine, "'secret-answer %', NEW.selected")


@pytest.mark.usefixtures("angry")
def test_I9_a_failing_upload_is_tried_again_until_it_is_dead(
    engine: Engine, house: Processes, viewer: Sender
) -> None:
    factories.load_many(engine)
    for name in ("worker", "sweeper"):
        house.start(name)
    upload = factories.random_upload(random.Random(3), learner=1)
    upload["attempts"][0]["pub_id"] = "q-1-00"
    viewer.send(factories.body(upload))
    until(lambda: finished(engine), "its tries are exhausted")
    row = upload_row(engine, upload["client_session_uuid"])
    assert (row.status, row.tries) == ("dead", house.settings.max_tries)
    assert row.last_error.startswith("InternalError") or "P0001" in row.last_error
    assert viewer.send(factories.body(upload)).answer is Answer.RECEIVED, (
        "it is recorded: no second delivery is needed"
    )
    uuid = upload["client_session_uuid"]
    until(lambda: "upload.dead" in told_of(house, uuid, "worker"), "the worker tells of it")
    assert "upload.replay_failed" in told_of(house, uuid, "worker")
    logged = "".join(house.output(name) for name in house.running) + row.last_error
    assert "secret-answer" not in logged


FATAL = "celery --app tests.fatal_worker worker --queues replay --without-gossip --without-mingle"


@pytest.mark.parametrize("way", ["exit", "segfault", "spin"])
def test_I9_a_payload_that_kills_its_worker_becomes_dead_and_others_of_its_message_go_on(
    engine: Engine, house: Processes, way: str
) -> None:
    factories.load_many(engine)
    chance = random.Random(4)
    uploads = [factories.random_upload(chance, learner=1 + n % 3) for n in range(6)]
    uploads[2]["attempts"][0]["pub_id"] = "q-fatal"
    with engine.begin() as connection:
        receive(connection, [factories.delivery(each) for each in uploads], first_try_after=2)
    app = make_celery(house.settings)
    with app.producer_pool.acquire() as producer:
        enqueue(producer, app, [factories.uuid_of(each) for each in uploads])
    # Only a start that spins is ended by the limit; the others have time for it on any machine.
    limits = {} if way == "spin" else {"TASK_TIME_LIMIT": "30", "VISIBILITY_TIMEOUT": "40"}
    house.start("worker", FATAL, FATAL_WAY=way, FATAL_TALLY=str(house.logs / "tally"), **limits)
    house.start("sweeper")
    until(lambda: finished(engine), "every upload is final")
    assert statuses(engine) == {"ingested": 5, "dead": 1}
    reached = len((house.logs / "tally").read_text())
    # The time limit ends a start that spins, on a slow machine perhaps before it has reached the question.
    assert 1 < reached <= house.settings.max_tries
    assert way == "spin" or reached == house.settings.max_tries
    fatal = upload_row(engine, uploads.pop(2)["client_session_uuid"])
    assert fatal.tries == house.settings.max_tries
    # Started with the fatal one twice at most, by the first message and by the sweeper's; then alone.
    assert max(upload_row(engine, each["client_session_uuid"]).tries for each in uploads) <= 3


def test_I9_a_start_that_its_message_had_no_time_for_is_not_counted(engine: Engine, house: Processes) -> None:
    """Otherwise a busy learner, or a slow store, would use up the tries of others."""
    factories.load_many(engine)
    chance = random.Random(6)
    uploads = [factories.random_upload(chance, learner=learner) for learner in (1, 2, 3)]
    with engine.begin() as connection:
        receive(connection, [factories.delivery(each) for each in uploads], first_try_after=600)
    app = make_celery(house.settings)
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM users WHERE id = 1 FOR UPDATE"))
        with app.producer_pool.acquire() as producer:
            enqueue(producer, app, [factories.uuid_of(each) for each in uploads], again=True)
        # The first waits for the lock until the message's share (10 s) is over, long before its limit (30 s).
        house.start("worker", TASK_TIME_LIMIT="40", VISIBILITY_TIMEOUT="60", LOCK_TIMEOUT="15")
        # Without a failure where the machine is so slow that not even the first was started by itself.
        ends = re.compile("FailedUploadError|Task replay_uploads.* succeeded")
        until(lambda: ends.search(house.output("worker")), "the message has ended")
    rows = [upload_row(engine, each["client_session_uuid"]) for each in uploads]
    assert [(row.status, row.tries) for row in rows] == [("received", 1)] * 3


TWO = f"{PROCFILE['worker']} --concurrency 2"


def in_transaction(engine: Engine) -> bool:
    with engine.connect() as connection:
        active = text("""
            SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND xact_start IS NOT NULL AND application_name = 'study-ingest' AND query LIKE '%study_q%'
        """)
        return bool(connection.execute(active).scalar_one())


def busy_children(worker: int) -> list[psutil.Process]:
    return psutil.Process(worker).children(recursive=True)


@pytest.mark.timeout(400)  # five times until workers are busy again: on a machine with other work, minutes
def test_I1_I2_five_kills_and_a_flush_lose_and_double_nothing(
    engine: Engine, house: Processes, viewer: Sender, servers: Servers
) -> None:
    factories.load_many(engine)
    slow_replays(engine, 0.5)
    rng = random.Random(5)
    uploads = [factories.random_upload(rng, learner=1 + n % 3, attempts=20) for n in range(470)]
    uploads += [factories.fast(rng, learner=1 + n % 3) for n in range(20)]
    uploads += [factories.mixed(rng) for _ in range(10)]
    house.start("sweeper")
    for upload in uploads:
        assert viewer.send(factories.body(upload)).answer is Answer.RECEIVED
    broker_url = servers.redis_url.replace("db=1", "db=0")
    with Redis.from_url(broker_url) as broker:
        assert broker.llen(REPLAY_QUEUE) >= 30  # under load, one message names up to ten uploads
        for kill in range(5):
            worker = house.start("worker", TWO)
            until(lambda: in_transaction(engine), "a replay is in its transaction")
            if kill % 2:
                house.kill("worker")
            else:
                for child in busy_children(worker.pid):
                    child.send_signal(signal.SIGKILL)
                before = statuses(engine)["received"]
                until(lambda before=before: statuses(engine)["received"] < before - 5, "others go on")
                house.kill("worker")
        assert statuses(engine)["received"] >= 100
        assert broker.llen(REPLAY_QUEUE) > 0
        broker.flushall()
    fast_replays(engine)
    house.start("worker")
    until(lambda: finished(engine), "every upload is final", patience=300)
    assert statuses(engine) == {"ingested": 490, "rejected": 10}
    with engine.connect() as connection:
        attempts = connection.execute(text("SELECT count(*) FROM study_question_attempts")).scalar_one()
    assert attempts == sum(len(upload["attempts"]) for upload in uploads[:490])
    assert [checked.differing for checked in verify(engine)] == [set()] * 3


def test_I1_a_dead_broker_delays_no_sender(
    engine: Engine, house: Processes, viewer: Sender, servers: Servers
) -> None:
    factories.load_many(engine)
    rng = random.Random(6)
    os.kill(servers.valkey.pid, signal.SIGSTOP)
    try:
        answers = [viewer.send(factories.body(factories.random_upload(rng, 1))).answer for _ in range(20)]
    finally:
        os.kill(servers.valkey.pid, signal.SIGCONT)
    assert answers == [Answer.RECEIVED] * 20
    for name in ("worker", "sweeper"):
        house.start(name)
    until(lambda: finished(engine), "the sweeper enqueues all")
    assert statuses(engine) == {"ingested": 20}
