"""An operator sees why they have to wait; only a Postgres that is away refuses the others too."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import Engine, text

from shared.config import Settings
from tests.clients import log_in, press
from tests.factories import answer, ingest, load, upload
from tests.processes import until

AWAY, LOCKED = "Postgres does not answer", "Another transaction has locked a row"
SLOW, TOO_MANY = "Postgres takes too long for this", "Too many requests of operators at once"

HOLD = text("LOCK TABLE study_topics IN ACCESS EXCLUSIVE MODE")
WAITING = text("""
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Give operators one place, and a breaker that stays open for the length of a test."""
    narrow = {"web_requests": 4, "store_pause": 600.0}
    return settings.model_copy(update=narrow)


@pytest.fixture
def ops_client(engine: Engine, web: httpx.Client) -> httpx.Client:
    load(engine)
    log_in(web)
    return web


def waiting(engine: Engine) -> int | None:
    """Return the process of a statement that waits for a lock."""
    with engine.connect() as connection:
        pid: int | None = connection.scalar(WAITING)
    return pid


@contextmanager
def held_up(engine: Engine, ops_client: httpx.Client) -> Iterator[Future[httpx.Response]]:
    """Ask for a page whose statement waits for a lock."""
    with engine.begin() as holder, ThreadPoolExecutor(1) as operator:
        holder.execute(HOLD)
        page = operator.submit(ops_client.get, "/ops/learners/1")
        until(lambda: waiting(engine) is not None, "the page waits")
        yield page


def end(engine: Engine, how: str) -> None:
    """End what waits for a lock."""
    with engine.begin() as connection:
        connection.execute(text(f"SELECT {how}(:pid)"), {"pid": waiting(engine)})


def test_a_locked_row_delays_no_other_page(engine: Engine, ops_client: httpx.Client) -> None:
    sent = upload(answer("q110", "2026-11-20T09:00:00Z"))
    ingest(engine, sent)
    uuid = sent["client_session_uuid"]
    with engine.begin() as holder:
        holder.execute(text("SELECT FROM uploads FOR UPDATE"))
        refused = press(ops_client, f"/ops/uploads/{uuid}/void", reason="locked")
        now = ops_client.get("/ops/").text
    assert (refused.status_code, LOCKED in refused.text) == (503, True)
    assert "figures" in now
    assert AWAY not in now
    assert press(ops_client, f"/ops/uploads/{uuid}/void", reason="free").status_code == 303


def test_a_slow_query_delays_no_other_page(engine: Engine, ops_client: httpx.Client) -> None:
    with held_up(engine, ops_client) as page:
        end(engine, "pg_cancel_backend")
        slow = page.result()
    assert (slow.status_code, SLOW in slow.text) == (503, True)
    assert AWAY not in ops_client.get("/ops/").text
    assert ops_client.get("/ops/learners/1").status_code == 200


def test_too_many_operators_are_answered_503(engine: Engine, ops_client: httpx.Client) -> None:
    with held_up(engine, ops_client):
        now = ops_client.get("/ops/").text
    assert TOO_MANY in now
    assert AWAY not in now


def test_the_breaker_opens_while_postgres_is_away(engine: Engine, ops_client: httpx.Client) -> None:
    with held_up(engine, ops_client) as page:
        end(engine, "pg_terminate_backend")
        lost = page.result()
    assert (lost.status_code, AWAY in lost.text) == (503, True)
    assert AWAY in ops_client.get("/ops/").text
    assert ops_client.get("/ops/learners/1").status_code == 503
