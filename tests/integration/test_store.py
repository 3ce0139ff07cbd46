"""Where an upload is kept when Postgres is away, and what the sender is answered."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from flask import Flask
from sqlalchemy import Engine, text

from api.app import create_app
from api.store import Store
from cli.client import PATH
from cli.local.servers import Servers
from shared import db, spool
from shared.config import Settings
from shared.db import make_engine
from shared.errors import StoreUnavailableError
from shared.models import Upload
from shared.payload import EXAMPLE_UPLOAD
from shared.study.store import lock_learner
from shared.uploads import Verdict, receive
from tests.factories import ANN, BEN, answer, delivery, ingest, load, rows, standing, upload, uuid_of

Serve = Callable[[Flask, Settings], httpx.Client]
AT = "2026-11-20T09:00:00Z"
DEADLINE_S = 3.0
LOCK = text("SELECT FROM uploads FOR NO KEY UPDATE")
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.mark.parametrize(("spool", "status"), [(True, 202), (False, 503)])
def test_without_postgres_an_upload_is_spooled_or_refused(
    serve: Serve, settings: Settings, *, spool: bool, status: int
) -> None:
    away = settings.model_copy(update={"database_url": NOWHERE} | ({} if spool else {"redis_url": ""}))
    web = serve(create_app(away), away)
    for _ in range(3):
        assert web.post(PATH, json=EXAMPLE_UPLOAD).status_code == status
    assert web.get("/readyz").status_code == (200 if spool else 503)


UNSTORABLE = text("""
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE 'secret-answer' USING ERRCODE = '22P02'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON uploads FOR EACH ROW
    WHEN (NEW.payload ? 'unstorable') EXECUTE FUNCTION refuse();
""")


def test_I12_what_postgres_cannot_store_is_refused_alone(
    serve: Serve, settings: Settings, engine: Engine, servers: Servers
) -> None:
    with engine.begin() as connection:
        connection.execute(UNSTORABLE)
    web = serve(create_app(settings), settings)
    sent = [EXAMPLE_UPLOAD | {"client_session_uuid": str(uuid4())} for _ in range(12)]
    bad = [each | {"unstorable": 1} for each in sent[::4]]
    with (
        ThreadPoolExecutor(12) as senders,
        spool.connect(servers.redis_url) as redis,
    ):
        answers = list(senders.map(lambda each: web.post(PATH, json=each), [*bad, *sent[1::4], *sent[2::4]]))
        assert spool.spooled(redis) == 0
    assert [each.status_code for each in answers] == [422] * 3 + [202] * 6
    assert answers[0].json()["errors"] == [
        {"pointer": "", "detail": "the upload holds a value that cannot be stored"}
    ]
    assert web.get("/readyz").status_code == 200


@pytest.fixture
def store(settings: Settings) -> Store:
    brief = settings.model_copy(update={"lock_timeout": 0.7 * DEADLINE_S})
    return Store(make_engine(brief, pool_size=4), "test", deadline=DEADLINE_S, threads=4)


def test_I12_a_locked_learner_refuses_no_others(engine: Engine, store: Store) -> None:
    """Five requests wait for a row: the fifth only for one of four threads, beyond its deadline."""
    load(engine)

    def work(_: int) -> None:
        store.run(lambda connection: lock_learner(connection, ANN))

    with engine.begin() as holder:
        lock_learner(holder, ANN)
        with ThreadPoolExecutor(5) as pool:
            for refused in [pool.submit(work, number) for number in range(5)]:
                with pytest.raises(StoreUnavailableError):
                    refused.result()
        assert store.run(lambda connection: lock_learner(connection, BEN)) is not None


@pytest.mark.parametrize("autocommit", [True, False])
def test_I12_no_locked_upload_is_waited_for(engine: Engine, settings: Settings, *, autocommit: bool) -> None:
    """A lock timeout of 0 would wait for ever, if anything waited."""
    load(engine)
    rejected = [upload(answer("q999", AT)) for _ in range(2)]
    assert [ingest(engine, each).status for each in rejected] == ["rejected"] * 2
    repeated = upload(answer("q111", AT))
    assert ingest(engine, repeated).status == "ingested"
    others = [delivery(each | {"attempts": [answer("q110", AT)]}) for each in rejected]
    conflict = delivery(repeated | {"attempts": [answer("q110", AT)]})
    batch = [*others, delivery(repeated), conflict, delivery(upload(answer("q111", AT)))]
    ours = make_engine(settings.model_copy(update={"lock_timeout": 0}), autocommit=autocommit)

    def verdicts() -> list[Verdict]:
        with ours.begin() as connection:
            return [each.verdict for each in receive(connection, batch, first_try_after=30)]

    with engine.begin() as holder:
        holder.execute(LOCK)
        assert verdicts() == ["locked", "locked", "ingested", "conflict", "new"]
    assert verdicts() == ["new", "new", "ingested", "conflict", "pending"]
    ours.dispose()


def test_I12_a_locked_upload_in_the_spool_delays_no_others(engine: Engine, servers: Servers) -> None:
    load(engine)
    rejected, fresh = upload(answer("q999", AT)), upload(answer("q111", AT))
    assert ingest(engine, rejected).status == "rejected"
    with spool.connect(servers.redis_url) as redis:
        for each in (rejected | {"attempts": [answer("q110", AT)]}, fresh):
            spool.push(redis, delivery(each))
        with engine.begin() as holder:
            holder.execute(LOCK)
            assert [spool.drain(redis, engine) for _ in range(2)] == [1, 0]
            assert spool.spooled(redis) == 1
        assert spool.drain(redis, engine) == 1
        assert spool.spooled(redis) == 0
    assert [standing(engine, each).status for each in (rejected, fresh)] == ["received"] * 2


def test_I12_a_repeat_of_an_upload_that_is_being_changed_delays_no_others_in_the_spool(
    engine: Engine, settings: Settings, servers: Servers
) -> None:
    """With a lock timeout of 0, the move would wait for ever without a limit of its own."""
    load(engine)
    changed, fresh = upload(answer("q999", AT)), upload(answer("q111", AT))
    assert ingest(engine, changed).status == "rejected"
    contents = [changed | {"attempts": [answer(pub_id, AT)]} for pub_id in ("q110", "q111")]
    ours = make_engine(settings.model_copy(update={"lock_timeout": 0}))
    with spool.connect(servers.redis_url) as redis:
        for each in (*contents, fresh):
            spool.push(redis, delivery(each))
        with engine.begin() as operator:
            operator.execute(text("UPDATE uploads SET clock_shift = '1 hour'"))
            assert [spool.drain(redis, ours) for _ in range(2)] == [1, 0]
            assert standing(engine, fresh).status == "received"
        assert spool.drain(redis, ours) == 2
        assert spool.spooled(redis) == 0
    ours.dispose()
    stored = {row["client_session_uuid"]: row["payload"] for row in rows(engine, Upload)}
    assert stored[uuid_of(changed)] == contents[0]


def test_I12_a_locked_table_holds_a_move_of_the_spool_for_one_short_wait(
    engine: Engine, settings: Settings, servers: Servers
) -> None:
    load(engine)
    ours = make_engine(settings.model_copy(update={"lock_timeout": 0}))
    contents = [upload(answer("q110", AT))]
    contents += [contents[0] | {"attempts": [answer("q111", AT)]}, upload(answer("q111", AT))]
    with spool.connect(servers.redis_url) as redis:
        for each in contents:
            spool.push(redis, delivery(each))
        with engine.begin() as other:
            other.execute(text("LOCK TABLE uploads IN SHARE MODE"))
            before = db.statements_sent()
            assert spool.drain(redis, ours) == 0
            assert db.statements_sent() - before == 2  # the second one waits
        assert spool.drain(redis, ours) == 3
    ours.dispose()
    assert contents[0] in [row["payload"] for row in rows(engine, Upload)]


def test_I12_an_upload_that_is_not_committed_stops_no_others_in_the_spool(
    engine: Engine, settings: Settings, servers: Servers
) -> None:
    stopped, fresh = upload(answer("q110", AT)), upload(answer("q111", AT))
    ours = make_engine(settings.model_copy(update={"lock_timeout": 0}))
    with spool.connect(servers.redis_url) as redis:
        for each in (stopped, fresh):
            spool.push(redis, delivery(each))
        with engine.begin() as other:
            receive(other, [delivery(stopped)], first_try_after=30)
            assert [spool.drain(redis, ours) for _ in range(2)] == [1, 0]
        assert spool.drain(redis, ours) == 1
    ours.dispose()


def test_I12_repeats_of_locked_uploads_leave_the_spool(
    engine: Engine, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "BATCH", 2)
    known, fresh = [upload(answer(pub_id, AT)) for pub_id in ("q110", "q111")], upload(answer("q120", AT))
    with engine.begin() as connection:
        receive(connection, [delivery(each) for each in known], first_try_after=30)
    with spool.connect(servers.redis_url) as redis:
        for each in (*known, fresh):
            spool.push(redis, delivery(each))
        with engine.begin() as replay:
            replay.execute(LOCK)
            assert [spool.drain(redis, engine) for _ in range(2)] == [2, 1]
            spool.push(redis, replace(delivery(known[0]), learner_id=ANN))  # it may replace a rejected upload
            assert spool.drain(redis, engine) == 0
        assert spool.drain(redis, engine) == 1


# As a load does that grades an edition again: it has changed the uploads, and has not committed.
REGRADE = text("UPDATE uploads SET result = result")


def test_I12_repeats_of_uploads_that_are_being_changed_leave_the_spool(
    engine: Engine, settings: Settings, servers: Servers
) -> None:
    """With a lock timeout of 0, the move would wait for ever without a limit of its own."""
    sent = [upload(answer("q110", AT)) for _ in range(2)]
    ours = make_engine(settings.model_copy(update={"lock_timeout": 0}))
    with engine.begin() as connection:
        receive(connection, [delivery(each) for each in sent], first_try_after=30)
    with spool.connect(servers.redis_url) as redis, engine.begin() as load:
        load.execute(REGRADE)
        for each in sent:
            spool.push(redis, delivery(each))
        before = db.statements_sent()
        assert spool.drain(redis, ours) == 2
        assert db.statements_sent() - before == 5  # none is repeated for a half of them
    ours.dispose()


def test_I12_repeats_of_uploads_that_are_being_changed_refuse_no_others(
    serve: Serve, settings: Settings, engine: Engine
) -> None:
    known, fresh = [upload(answer("q110", AT)) for _ in range(6)], upload(answer("q111", AT))
    with engine.begin() as connection:
        receive(connection, [delivery(each) for each in known], first_try_after=30)
    brief = settings.model_copy(update={"store_deadline": 1.0, "redis_url": ""})
    web = serve(create_app(brief), brief)
    assert web.post(PATH, json=upload(answer("q111", AT))).status_code == 202
    with engine.begin() as load, ThreadPoolExecutor(8) as senders:
        load.execute(REGRADE)
        answers = [senders.submit(web.post, PATH, json=each) for each in (*known, fresh)]
        assert [each.result().status_code for each in answers] == [202] * 7


def test_an_upload_that_is_locked_goes_to_the_spool(
    serve: Serve, settings: Settings, engine: Engine, servers: Servers
) -> None:
    load(engine)
    rejected = upload(answer("q999", AT))
    assert ingest(engine, rejected).status == "rejected"
    web = serve(create_app(settings), settings)
    with engine.begin() as holder, spool.connect(servers.redis_url) as redis:
        holder.execute(LOCK)
        sent = web.post(PATH, json=rejected | {"attempts": [answer("q110", AT)]})
        assert (sent.status_code, spool.spooled(redis)) == (202, 1)
        redis.flushall()
