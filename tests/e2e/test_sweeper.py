"""The sweeper as a process: at SIGTERM, it ends within a webhook's time-out, whatever hangs."""

import signal

from sqlalchemy import Engine, text

from cli.local.servers import Servers
from shared.config import Settings
from tests.factories import answer, ingest, load, upload
from tests.faults import frozen
from tests.processes import PATIENCE_S, Processes, processes, until
from tests.receiver import Receiver, hang
from tests.webhooks import configured

NINE = "2026-11-20T09:00:00Z"
TIMEOUT_S = 2.0
# Of a busy Postgres, to record an answer.
SLOWLY = text("""
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.4); RETURN NEW; END $$;
    CREATE TRIGGER slowly BEFORE UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION slowly();
""")
# Longer than any test waits.
NEVER_S = 10 * PATIENCE_S


HANGS = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'study-ingest' AND wait_event_type = 'Lock'
""")


def start(house: Processes, engine: Engine) -> None:
    house.start("sweeper")
    beaten = text("SELECT count(*) FROM heartbeats")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        until(lambda: connection.scalar(beaten), "the sweeper runs")


def stop(house: Processes) -> int:
    """Tell the sweeper to stop; return its exit code."""
    process = house.running.pop("sweeper")
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)


def test_at_rest_it_ends_without_waiting_for_the_next_sweep(
    engine: Engine, settings: Settings, house: Processes
) -> None:
    slow = {"sweep_every": NEVER_S, "webhook_timeout": NEVER_S}
    with processes(settings, house.logs, **slow) as running:
        start(running, engine)
        assert stop(running) == 0


def test_under_way_webhooks_are_given_up_in_time(
    engine: Engine, settings: Settings, receiver: Receiver, house: Processes
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", NINE)))
    with engine.begin() as connection:
        connection.execute(SLOWLY)
    receiver.then(hang(receiver))
    changed = configured(settings, webhook_url=receiver.url, webhook_timeout=TIMEOUT_S)
    with processes(changed, house.logs, retry_base=NEVER_S) as running:
        start(running, engine)
        until(lambda: len(receiver.requests) == 2, "the receiver hangs")
        assert stop(running) == 0, "it ended by itself"
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT status, tries, last_error FROM outbox")).all()
    assert rows == [("waiting", 1, "no complete answer within 2 s")] * 2, "the tries are recorded"


def test_a_frozen_postgres_does_not_hold_it(
    engine: Engine, settings: Settings, house: Processes, servers: Servers
) -> None:
    patient = {"lock_timeout": NEVER_S}
    changed = settings.model_copy(update={"webhook_timeout": TIMEOUT_S})
    with processes(changed, house.logs, **patient) as running, engine.begin() as holder:
        start(running, engine)
        holder.execute(text("LOCK TABLE heartbeats"))
        until(lambda: holder.scalar(HANGS), "it is in a statement")
        with frozen(servers.postgres.pid):
            assert stop(running) == -signal.SIGALRM, "it was cut off"
