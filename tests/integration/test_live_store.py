"""The live side while Postgres is away or busy: 503 within the deadline; uploads do not notice."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from api.store import PROBE_S, Store
from cli.client import PATH
from cli.local.servers import Servers
from shared.config import Settings
from shared.db import make_engine
from shared.errors import StoreUnavailableError
from shared.models import Base, StudyQuestionAttempt, Upload
from shared.payload import EXAMPLE_UPLOAD
from tests.clients import Front, refusal, started
from tests.factories import rows
from tests.faults import frozen
from tests.processes import until


def test_a_frozen_postgres_is_503_and_a_retry_finds_everything_once(
    front: Front, servers: Servers, engine: Engine
) -> None:
    session = started(front.start())
    with frozen(servers.postgres.pid):
        responses = [front.answer(session, "q110") for _ in range(3)]
        responses += [front.start(), front.finalize(session), front.abandon(session), front.get("sessions")]
        responses += [front.get(path) for path in ("reviews", "wrong-notes", "topics/11/weak-areas")]
    assert {refusal(response) for response in responses} == {(503, "store-unavailable")}
    assert all(response.headers["Retry-After"] for response in responses)
    until(lambda: front.answer(session, "q110").status_code == 200, "the store is asked again")
    assert front.finalize(session).json()["snapshot"]["correct_count"] == 1
    assert len(rows(engine, StudyQuestionAttempt)) == 1


def test_I12_one_request_waits_for_a_store_that_hangs_and_none_after_it(
    settings: Settings, servers: Servers
) -> None:
    store = Store(make_engine(settings, pool_size=2), "test", deadline=3.0, threads=2)
    assert store.run(lambda _: True)
    with frozen(servers.postgres.pid), capture_logs() as logs:
        assert "did not answer in time" in refusal_of(store)
        until(lambda: "was unreachable a moment ago" in refusal_of(store), "the breaker opens")
        # A process that was itself slow does not blame the store: then one more request waits.
        *before, last = [each["web_process_was_slow"] for each in logs if each["event"] == "store.timed_out"]
        assert (all(before), last) == (True, False)
        for _ in range(5):
            time.sleep(PROBE_S / 2)
            with pytest.raises(StoreUnavailableError, match="was unreachable a moment ago"):
                store.check()
    until(lambda: succeeds(store.check), "the store is used again, though no request has tried it")


def refusal_of(store: Store) -> str:
    with pytest.raises(StoreUnavailableError) as refused:
        store.check()
    return str(refused.value)


def succeeds(do: Callable[[], None]) -> bool:
    try:
        do()
    except StoreUnavailableError as error:
        assert "was unreachable a moment ago" in str(error)  # noqa: PT017  # in between, nobody waits
        return False
    return True


def test_a_refusal_says_that_the_store_is_back(front: Front, servers: Servers) -> None:
    with frozen(servers.postgres.pid):
        assert front.finalize(1).status_code == 503
    until(lambda: front.finalize(1).status_code == 404, "the store is asked again")
    assert front.finalize(1).status_code == 404


def test_I12_no_locked_table_but_their_own_delays_uploads(front: Front, engine: Engine) -> None:
    others = sorted({*Base.metadata.tables} - {Upload.__tablename__})
    with engine.begin() as holder:
        holder.execute(text(f"LOCK TABLE {', '.join(others)}"))
        for _ in range(3):
            assert refusal(front.get("reviews")) == (503, "store-unavailable")
            assert front.web.post(PATH, json=EXAMPLE_UPLOAD).status_code == 202
            assert front.web.get("/readyz").status_code == 200
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT count(*) FROM uploads")) == 1, "in Postgres"
    assert front.get("reviews").status_code == 200, (
        "what was slow was not away: nothing is refused afterwards"
    )
