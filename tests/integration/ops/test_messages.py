"""The page of now names what is most urgent, and says that all is well only where it is."""

import re
from collections.abc import Callable

import httpx
from flask import Flask
from redis import Redis
from sqlalchemy import Engine, text

from api.app import create_app
from shared.config import Settings
from shared.spool import SPOOL, push
from tests.clients import log_in
from tests.factories import answer, deliver, delivery, ingest, load, upload
from tests.ops_factories import mark_dead, sweep

AT = "2026-11-20T09:00:00Z"


def message(web: httpx.Client) -> str:
    if "study_ingest_ops" not in web.cookies:
        log_in(web)
    found = re.search(r'role="status" class="message">(.*?)</p>', web.get("/ops/").text, re.DOTALL)
    assert found
    return found[1].strip()


def change(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_the_most_urgent_message_is_shown_until_all_is_well(
    engine: Engine, settings: Settings, web: httpx.Client
) -> None:
    load(engine)
    ingest(engine, upload(answer("q999", AT)))
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    deliver(engine, sent | {"attempts": [answer("q111", AT)]})
    mark_dead(engine, upload(answer("q110", AT)), "KeyError at a")
    late = upload(answer("q120", AT))
    deliver(engine, late)
    change(engine, "UPDATE uploads SET waiting_since = now() - interval '11 minutes'")
    with Redis.from_url(settings.redis_url) as redis:
        push(redis, delivery(upload(answer("q110", AT))))
        assert "No sweeper runs" in message(web), "there was no sweep ever"
        sweep(engine)
        assert "is overdue" in message(web)
        change(engine, "UPDATE heartbeats SET beaten_at = now() - interval '61 seconds'")
        assert "No sweeper runs" in message(web)
        sweep(engine)
        change(engine, "UPDATE uploads SET waiting_since = now() WHERE status = 'received'")
        assert "only Redis has them" in message(web)
        redis.delete(SPOOL)
    assert message(web) == "There are dead uploads: find out why they failed, then replay them."
    change(engine, "DELETE FROM uploads WHERE status = 'dead'")
    assert message(web) == "There are conflicts to decide."
    change(engine, "DELETE FROM upload_conflicts")
    assert "rejected uploads" in message(web)
    change(engine, "DELETE FROM uploads WHERE status = 'rejected'")
    assert message(web) == "All is well."


def test_sweeps_that_are_set_to_be_rare_are_not_missed_at_once(
    engine: Engine, settings: Settings, serve: Callable[[Flask, Settings], httpx.Client]
) -> None:
    rare = settings.model_copy(update={"sweep_every": 30.0})
    web = serve(create_app(rare), rare)
    sweep(engine)
    change(engine, "UPDATE heartbeats SET beaten_at = now() - interval '350 seconds'")
    assert message(web) == "All is well."
    change(engine, "UPDATE heartbeats SET beaten_at = now() - interval '361 seconds'")
    assert "No sweeper runs" in message(web)


def test_a_spool_that_does_not_answer_is_shown(
    engine: Engine, settings: Settings, serve: Callable[[Flask, Settings], httpx.Client]
) -> None:
    sweep(engine)
    away, without = (settings.model_copy(update={"redis_url": url}) for url in ("redis://127.0.0.1:9", ""))
    assert "The spool does not answer" in message(serve(create_app(away), away))
    assert message(serve(create_app(without), without)) == "All is well."
