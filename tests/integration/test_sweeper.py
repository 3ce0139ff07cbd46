"""Each job of the sweeper goes on while another's store is away or its receiver hangs; several may run."""

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from shared import spool
from shared.config import Settings
from shared.errors import StoreUnavailableError
from shared.health import read_state
from shared.models import Base, StudyQuizSession, Upload, UploadConflict, UploadEvent
from shared.uploads import Verdict
from tests.factories import answer, deliver, delivery, ingest, load, rows, statuses, upload
from tests.processes import reachable_directory, until
from tests.receiver import Receiver, hang
from tests.webhooks import configured, fates
from worker.sweeper import MAX_WEBHOOKS, Sweeper, WebhookSender

NINE = "2026-11-20T09:00:00Z"
EVERY_S = 0.05
MANY = 40


@pytest.fixture
def brisk(settings: Settings, receiver: Receiver) -> Settings:
    """Return settings of a sweeper that sweeps at once and tells the receiver."""
    return configured(settings, webhook_url=receiver.url, sweep_every=EVERY_S)


@contextmanager
def sweeping(*settings: Settings) -> Iterator[None]:
    """Run sweepers for the length of a `with`; `stop` ends each."""
    sweepers = [Sweeper(each) for each in settings]
    threads = [threading.Thread(target=each.run) for each in sweepers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for each in sweepers:
            each.stop()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def add_overdue(engine: Engine, uploads: int) -> set[str]:
    """Record uploads that are due; return their uuids."""
    made = [upload(answer("q110", NINE)) for _ in range(uploads)]
    for each in made:
        deliver(engine, each)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET next_try_at = now() WHERE status = 'received'"))
    return {each["client_session_uuid"] for each in made}


def spool_some(settings: Settings, uploads: int) -> None:
    with spool.connect(settings.redis_url) as redis:
        for _ in range(uploads):
            spool.push(redis, delivery(upload(answer("q110", NINE))))


def heartbeat_age(engine: Engine) -> float:
    with engine.connect() as connection:
        age = read_state(connection).heartbeat_age
    return math.inf if age is None else age


def all_delivered(engine: Engine) -> bool:
    return {fate for fate, _, _ in fates(engine)} == {"delivered"}


def test_I1_with_the_broker_away_the_spool_is_moved_and_webhooks_are_delivered(
    engine: Engine, brisk: Settings, enqueued_uploads: Callable[[], list[str]]
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", NINE)))
    overdue = add_overdue(engine, 3)
    with reachable_directory() as directory:
        link = Path(directory, "broker.sock")
        away = brisk.model_copy(update={"broker_url": f"redis+socket://{link}?virtual_host=0"})
        with sweeping(away):
            spool_some(brisk, 150)
            until(lambda: all_delivered(engine), "webhooks are delivered")
            until(lambda: statuses(engine).count("received") == 153, "the spool is in Postgres")
            assert enqueued_uploads() == []
            link.symlink_to(urlsplit(brisk.broker_url).path)
            until(
                lambda: overdue <= set(enqueued_uploads()),
                "the broker is back, and overdue uploads are enqueued",
            )


def test_several_sweepers_enqueue_and_deliver_each_once(
    engine: Engine, brisk: Settings, receiver: Receiver, enqueued_uploads: Callable[[], list[str]]
) -> None:
    load(engine)
    for _ in range(MANY // 2):
        ingest(engine, upload(answer("q110", NINE)))
    overdue = add_overdue(engine, MANY)
    with sweeping(brisk, brisk, brisk):
        until(lambda: all_delivered(engine), "webhooks are delivered")
        until(lambda: set(enqueued_uploads()) == overdue, "all are enqueued")
        time.sleep(10 * EVERY_S)
    assert len(enqueued_uploads()) == MANY, "nothing is enqueued twice within its lease"
    assert len({request.id for request in receiver.verified()}) == len(receiver.requests) == MANY


def test_I12_a_receiver_that_hangs_delays_neither_sweep_nor_spool_nor_other_webhooks(
    engine: Engine, brisk: Settings, receiver: Receiver, enqueued_uploads: Callable[[], list[str]]
) -> None:
    load(engine)
    for _ in range(MAX_WEBHOOKS):
        ingest(engine, upload(answer("q110", NINE)))
    receiver.then(*[hang(receiver)] * (MAX_WEBHOOKS - 1), receiver.behaviours[0])
    patient = brisk.model_copy(update={"webhook_timeout": 600.0})
    with sweeping(patient):
        until(lambda: len(receiver.requests) > 2 * MAX_WEBHOOKS - 2, "the one free thread delivers the rest")
        overdue = add_overdue(engine, 3)
        spool_some(brisk, 3)
        until(lambda: overdue <= set(enqueued_uploads()), "overdue uploads are enqueued")
        until(lambda: statuses(engine).count("received") == 6, "the spool is in Postgres")
        until(lambda: heartbeat_age(engine) < 1, "the heart beats at every sweep")
        receiver.released.set()


def test_a_name_server_that_does_not_answer_delays_a_webhook_by_its_timeout_alone(
    engine: Engine, brisk: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", NINE)))
    answers, resolve = threading.Event(), socket.getaddrinfo

    def resolve_slowly(host: str | bytes | None, *options: Any) -> Any:
        if host in {"receiver.invalid", b"receiver.invalid"}:
            answers.wait()
        return resolve(host, *options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    # The next try is after the test.
    changed = {"webhook_url": "http://receiver.invalid/", "webhook_timeout": 0.5, "retry_base": 3600.0}
    try:
        with sweeping(brisk.model_copy(update=changed)):
            until(lambda: {tries for _, tries, _ in fates(engine)} == {1}, "the tries are recorded")
        assert {error for _, _, error in fates(engine)} == {"no complete answer within 0.5 s"}
    finally:
        answers.set()


def test_what_waits_for_a_free_thread_does_not_wait_for_the_next_sweep(
    engine: Engine, brisk: Settings, receiver: Receiver
) -> None:
    load(engine)
    for _ in range(2 * MAX_WEBHOOKS):
        ingest(engine, upload(answer("q110", NINE)))
    with sweeping(brisk.model_copy(update={"sweep_every": 3600.0})):
        until(lambda: all_delivered(engine), "webhooks are delivered")
    assert len(receiver.requests) == 4 * MAX_WEBHOOKS


def test_a_thread_that_does_not_start_takes_no_place(engine: Engine, brisk: Settings) -> None:
    load(engine)
    for _ in range(MAX_WEBHOOKS):
        ingest(engine, upload(answer("q110", NINE)))
    deliveries = WebhookSender(engine, brisk, on_free=lambda: None)
    usual = threading.stack_size(1 << 46)  # more than a process can address: no thread starts
    try:
        with pytest.raises(RuntimeError, match="thread"):
            deliveries.start_due()
    finally:
        threading.stack_size(usual)
    assert deliveries.start_due() == MAX_WEBHOOKS
    deliveries.wait(30)


def test_I8_one_sweeper_at_a_time_moves_the_spool(engine: Engine, brisk: Settings, broker_url: str) -> None:
    assert broker_url
    spool_some(brisk, 3)
    with engine.begin() as connection, Redis.from_url(brisk.redis_url) as redis:
        assert spool.try_lock(connection)
        with sweeping(brisk):
            time.sleep(10 * EVERY_S)
            assert redis.llen(spool.SPOOL) == 3, "another moves it"
            connection.commit()
            until(lambda: statuses(engine).count("received") == 3, "the spool is in Postgres")


def test_I1_a_spool_that_fills_redis_is_moved(engine: Engine, brisk: Settings, broker_url: str) -> None:
    assert broker_url
    spool_some(brisk, 3)
    with spool.connect(brisk.redis_url) as redis:
        redis.lmove(spool.SPOOL, spool.MOVING, "RIGHT", "LEFT")
        redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreUnavailableError):
                spool_some(brisk, 1)
            assert spool.drain(redis, engine) == 3
        finally:
            redis.config_set("maxmemory", 0)
        assert statuses(engine) == ["received"] * 3
        assert spool.spooled(redis) == 0


def test_live_sessions_that_are_idle_are_abandoned(brisk: Settings, engine: Engine) -> None:
    """Of each learner's two topics, the first was begun 25 hours ago, the second 23."""
    load(engine)
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, created_at)
                SELECT user_id, id, '[]', now() - (27 - 2 * (id % 10)) * interval '1 hour' FROM study_topics
            """)
        )
    expected = {
        topic: "abandoned" if topic % 10 == 1 else "in_progress" for topic in (11, 12, 21, 22, 31, 32)
    }

    def found() -> dict[int, str]:
        return {row["study_topic_id"]: row["status"] for row in rows(engine, StudyQuizSession)}

    with sweeping(brisk, brisk):
        until(lambda: found() == expected, "the idle sessions are abandoned")
        time.sleep(10 * EVERY_S)
    assert found() == expected


def test_I8_two_sweepers_purge_what_is_older_than_the_retention_once(
    engine: Engine, settings: Settings
) -> None:
    load(engine)
    old = [upload(answer("q110", NINE)) for _ in range(20)]
    young, failed, waiting = (upload(answer(each, NINE)) for each in ("q110", "q999", "q110"))
    for each in (*old, young, failed):
        ingest(engine, each)
    deliver(engine, waiting)
    for each in (old[0], young):
        deliver(engine, each | {"attempts": [answer("q111", NINE)]})  # a conflict of each
    age(engine, [*old, failed], "31 days")
    age(engine, [young], "29 days")

    def kept(model: type[Base]) -> set[str]:
        return {str(row["client_session_uuid"]) for row in rows(engine, model) if row["payload"] is not None}

    left = {each["client_session_uuid"] for each in (young, failed, waiting)}
    with sweeping(*[brisk_retention(settings)] * 2):
        until(lambda: kept(Upload) == left, "what is old is purged")
        until(lambda: kept(UploadConflict) == {young["client_session_uuid"]}, "and its conflict")
    purged = [row for row in rows(engine, UploadEvent) if row["kind"] == "purged"]
    assert len(purged) == len(old)
    assert deliver(engine, old[1]).verdict is Verdict.INGESTED


def brisk_retention(settings: Settings) -> Settings:
    return configured(settings, sweep_every=EVERY_S, upload_retention_days=30)


def age(engine: Engine, uploads: list[dict[str, Any]], by: str) -> None:
    """Let uploads, and their conflicts, have come and ended so long ago."""
    aged = text("""
        WITH conflicts AS (
            UPDATE upload_conflicts SET received_at = now() - CAST(:by AS interval)
            WHERE client_session_uuid = ANY(CAST(:uploads AS uuid[])))
        UPDATE uploads SET finalized_at = now() - CAST(:by AS interval)
        WHERE client_session_uuid = ANY(CAST(:uploads AS uuid[]))
    """)
    with engine.begin() as connection:
        connection.execute(aged, {"by": by, "uploads": [each["client_session_uuid"] for each in uploads]})
