"""While Postgres is away, Redis keeps what arrives; nothing of it is lost or doubled on the way back (I1)."""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from cli.client import PATH, Answer, Sender, Sent
from cli.local.servers import Servers
from shared import spool
from shared.config import Settings
from shared.models import Upload
from shared.payload import content_hash, parse_upload
from shared.uploads import Delivery
from tests import factories
from tests.factories import rows
from tests.faults import frozen
from tests.processes import PATIENCE_S, Processes, processes, until

SECRET = "quoted-by-nobody"
SLACK = timedelta(minutes=1)


def place_of(upload: dict[str, Any]) -> str:
    return f"{PATH}/{upload['client_session_uuid']}"


def ingested(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM uploads WHERE status = 'ingested'")).scalar_one()


def test_I1_what_arrives_while_postgres_is_frozen_is_ingested_later(
    engine: Engine, house: Processes, viewer: Sender, servers: Servers
) -> None:
    factories.load_many(engine)
    rng = random.Random(1)
    uploads = [factories.random_upload(rng, 1 + n % 3) for n in range(30)]
    with frozen(servers.postgres.pid):
        answers = [viewer.http.post(PATH, json=upload).status_code for upload in uploads]
        ready = viewer.http.get("/readyz").status_code
        asked = viewer.http.get(place_of(uploads[0])).status_code
    assert answers == [202] * len(uploads)
    assert (ready, asked) == (200, 503)
    for name in ("worker", "sweeper"):
        house.start(name)
    until(lambda: ingested(engine) == len(uploads), "everything spooled is ingested")
    moved = [line for line in house.output("sweeper").splitlines() if "spool.moved" in line]
    assert [each for each in uploads if each["client_session_uuid"] not in "".join(moved)] == []
    until(lambda: viewer.http.get(place_of(uploads[0])).is_success, "the store is asked again")
    assert {viewer.send(factories.body(upload)).answer for upload in uploads} == {Answer.ALREADY_INGESTED}


def test_I1_a_sender_waits_for_what_only_the_spool_knows(
    engine: Engine, house: Processes, viewer: Sender, servers: Servers
) -> None:
    factories.load_many(engine)
    sent = factories.random_upload(random.Random(4), 1)
    body = factories.body(sent)
    with frozen(servers.postgres.pid):
        assert viewer.send(body).answer is Answer.RECEIVED
        assert viewer.wait(body, time.monotonic() + 0.1) == Sent(Answer.FAILED, "no final status in time")
    until(
        lambda: viewer.http.get(place_of(sent)).status_code == 404,
        "Postgres is back, without it",
    )
    assert viewer.wait(body, time.monotonic() + 0.1) == Sent(Answer.FAILED, "no final status in time")
    for name in ("worker", "sweeper"):
        house.start(name)
    assert viewer.wait(body, time.monotonic() + PATIENCE_S) == Sent(Answer.INGESTED)


def test_I1_postgres_has_what_was_spooled_as_soon_as_it_is_back(
    engine: Engine, settings: Settings, servers: Servers, tmp_path: Path
) -> None:
    factories.load_many(engine)
    with (
        processes(settings, tmp_path, sweep_every=10 * PATIENCE_S) as house,
        Sender(house.serve(), "viewer-token-of-tests") as viewer,
        spool.connect(servers.redis_url) as redis,
    ):
        house.start("sweeper")
        until(lambda: "sweeper.started" in house.output("sweeper"), "the sweeper runs")
        with frozen(servers.postgres.pid):
            for seed in range(5):
                body = factories.body(factories.random_upload(random.Random(seed), 1))
                assert viewer.send(body).answer is Answer.RECEIVED
            assert spool.spooled(redis) == 5
        until(lambda: spool.spooled(redis) == 0, "the spool is empty before the next sweep")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM uploads")).scalar_one() == 5


def test_with_both_stores_away_the_answer_is_503_with_retry_after(
    viewer: Sender, servers: Servers, engine: Engine
) -> None:
    factories.load_many(engine)
    upload = factories.random_upload(random.Random(2), 1)
    with frozen(servers.postgres.pid), frozen(servers.valkey.pid):
        responses = [viewer.http.post(PATH, json=upload) for _ in range(3)]
        ready = viewer.http.get("/readyz").status_code
    assert [response.status_code for response in responses] == [503] * 3
    assert all(response.headers["Retry-After"] for response in responses)
    assert ready == 503
    until(lambda: viewer.http.post(PATH, json=upload).status_code == 202, "the breaker lets one through")


def test_I12_no_option_of_its_url_makes_a_sender_wait_longer(servers: Servers) -> None:
    options = "socket_timeout=60&socket_connect_timeout=60&retry_on_timeout=True&encoding_errors=strict"
    with spool.connect(f"{servers.redis_url}&{options}", spool.PROCESS_TIMEOUT_S) as redis:
        redis.lpush("elsewhere", b"\xff")
        assert redis.lpop("elsewhere") == "\udcff"
        with frozen(servers.valkey.pid):
            began = time.monotonic()
            assert not spool.answers(redis)
        assert time.monotonic() - began < 20


def entry(seed: int) -> Delivery:
    return factories.delivery(factories.random_upload(random.Random(seed), 1), datetime.now(UTC))


@pytest.fixture
def redis(broker_url: str, servers: Servers) -> Iterator[Redis]:
    assert broker_url
    with spool.connect(servers.redis_url) as redis:
        yield redis


class MoverDiedError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("step", ["lmove", "receive", "lrem"])
def test_I1_a_mover_that_dies_at_any_step_loses_and_doubles_nothing(
    engine: Engine, redis: Redis, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for seed in range(3):
        spool.push(redis, entry(seed))

    def die(*_: object, **__: object) -> None:
        raise MoverDiedError

    with monkeypatch.context() as patch:
        patch.setattr(spool if step == "receive" else redis, step, die)
        with pytest.raises(MoverDiedError):
            spool.drain(redis, engine)
    assert spool.drain(redis, engine) <= 3
    with engine.connect() as connection:
        kept = set(connection.execute(text("SELECT client_session_uuid FROM uploads")).scalars())
    assert kept == {entry(seed).client_session_uuid for seed in range(3)}
    assert redis.llen(spool.SPOOL) + redis.llen(spool.MOVING) + redis.llen(spool.REFUSED) == 0


def test_I8_a_spooled_upload_that_differs_is_kept_as_a_conflict(engine: Engine, redis: Redis) -> None:
    first = factories.random_upload(random.Random(1), 1)
    for upload in (first, first | {"finished_at": "2026-10-01T00:00:00Z"}):
        spool.push(redis, factories.delivery(upload, datetime.now(UTC)))
    assert spool.drain(redis, engine) == 2
    with engine.connect() as connection:
        conflicts = (
            connection.execute(text("SELECT client_session_uuid FROM upload_conflicts")).scalars().all()
        )
    assert conflicts == [factories.uuid_of(first)]


def test_I8_after_a_mover_died_the_first_content_stands_all_the_same(engine: Engine, redis: Redis) -> None:
    first = factories.random_upload(random.Random(1), 1)
    for upload in (first, first | {"finished_at": "2026-10-01T00:00:00Z"}):
        spool.push(redis, factories.delivery(upload, datetime.now(UTC)))
        redis.lmove(spool.SPOOL, spool.MOVING, "RIGHT", "LEFT")
    spool.drain(redis, engine)
    with engine.connect() as connection:
        stands = connection.execute(text("SELECT content_hash FROM uploads")).scalar_one()
    assert stands == content_hash(parse_upload(factories.body(first).encode()))


def malformed() -> list[bytes]:
    """Return what is no entry of ours, each with a word that no log may quote, where it has words."""
    sound = json.loads(as_spooled(entry(9)))
    return [
        *(
            b"?",
            b"",
            b"{}",
            b"[]",
            b"null",
            b"7",
            b"[" * 5000,
            SECRET.encode(),
            b"\xff\xfe",
            b"\xff" + SECRET.encode(),
        ),
        *(
            json.dumps(sound | {"payload": each}).encode()
            for each in (7, None, [], {}, SECRET, "[", "\ud800")
        ),
        *(json.dumps(sound | {"payload": sound["payload"] + SECRET}).encode(),),
        *(json.dumps(sound | {"received_at": each}).encode() for each in (7, None, [], SECRET, "today", "")),
        as_spooled(entry(9)).encode().replace(b"finished_at", b"finished\xffat"),
        as_spooled(entry(9)).encode().replace(b"attempts", SECRET.encode()),
    ]


def as_spooled(delivery: Delivery) -> str:
    return json.dumps({"payload": delivery.payload, "received_at": str(delivery.received_at)})


def test_I1_I11_a_malformed_entry_blocks_no_other_and_is_not_quoted(
    engine: Engine, house: Processes, redis: Redis, servers: Servers
) -> None:
    wrong = malformed()
    with Redis.from_url(servers.redis_url) as plain:
        for each in wrong:
            plain.lpush(spool.SPOOL, each)
        spool.push(redis, entry(1))
        house.start("sweeper")
        until(lambda: rows(engine, Upload), "the one behind them is moved")
        until(lambda: not spool.spooled(redis), "the others are set aside")
        kept = plain.lrange(spool.REFUSED, 0, -1)
    assert kept == wrong[::-1]
    assert [row["client_session_uuid"] for row in rows(engine, Upload)] == [entry(1).client_session_uuid]
    output = house.output("sweeper")
    assert output.count("spool.entry_set_aside") == len(wrong)
    assert SECRET not in output


def test_I1_at_maxmemory_what_nobody_can_read_holds_up_no_other(engine: Engine, redis: Redis) -> None:
    """Redis moves and adds nothing then, but it is free as soon as the spool is empty."""
    wrong = [f"{SECRET} {number}" for number in range(2 * spool.BATCH)]
    for each in wrong:
        redis.lpush(spool.SPOOL, each)
    redis.lmove(spool.SPOOL, spool.MOVING, "RIGHT", "LEFT")
    spool.push(redis, entry(1))
    redis.config_set("maxmemory", 1)
    try:
        while spool.spooled(redis):
            assert spool.drain(redis, engine)
    finally:
        redis.config_set("maxmemory", 0)
    assert [row["client_session_uuid"] for row in rows(engine, Upload)] == [entry(1).client_session_uuid]
    assert redis.lrange(spool.REFUSED, 0, -1) == wrong[::-1]


def test_arrival_time_is_that_of_the_arrival(engine: Engine, redis: Redis) -> None:
    # What the web process thinks is not asked.
    delivery = replace(entry(1), received_at=datetime(2020, 1, 1, tzinfo=UTC))
    spool.push(redis, delivery)
    pushed = json.loads(redis.lpop(spool.SPOOL))
    assert abs(datetime.now(UTC) - datetime.fromisoformat(pushed["received_at"])) < SLACK
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    redis.lpush(spool.SPOOL, json.dumps(pushed | {"received_at": an_hour_ago.isoformat()}))
    spool.drain(redis, engine)
    with engine.connect() as connection:
        received = connection.execute(text("SELECT received_at FROM uploads")).scalar_one()
    assert abs(received - an_hour_ago) < SLACK


def test_an_entry_from_the_future_arrives_now(engine: Engine, redis: Redis) -> None:
    """The clock of a Redis that took another's place may be behind."""
    for seed, at in enumerate((datetime.now(UTC) + timedelta(days=2), datetime.max.replace(tzinfo=UTC))):
        redis.lpush(spool.SPOOL, as_spooled(replace(entry(seed), received_at=at)))
    spool.drain(redis, engine)
    with engine.connect() as connection:
        late = connection.execute(text("SELECT count(*) FROM uploads WHERE received_at > now()")).scalar_one()
        assert (late, len(rows(engine, Upload))) == (0, 2)
