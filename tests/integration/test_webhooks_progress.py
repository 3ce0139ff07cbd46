"""A hint that progress has changed: one for whatever changed, and none of what is not committed."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from sqlalchemy import Engine, text

from shared import changes, webhooks
from shared.config import Settings
from shared.models import Outbox
from shared.replay import replay
from tests.factories import DEFAULT_ZONE, NOW, answer, deliver, ingest, load, rows, upload, uuid_of
from tests.processes import until
from tests.receiver import Receiver
from tests.webhooks import configured, deliver_due
from worker.sweeper import Sweeper

AT = "2026-11-20T09:00:00Z"
HINT = "progress.changed"
FORGET = text("DELETE FROM outbox WHERE kind <> 'progress.changed'")


@pytest.fixture
def hinting(settings: Settings, receiver: Receiver) -> Settings:
    return configured(settings, webhook_url=receiver.url, webhook_progress=True, sweep_every=0.05)


def change(engine: Engine, pub_id: str = "q110") -> None:
    ingest(engine, upload(answer(pub_id, AT)))
    with engine.begin() as connection:
        connection.execute(FORGET)


def hint(engine: Engine, since: str = "0") -> str:
    with engine.begin() as connection:
        return webhooks.announce_progress(connection, since)


def hints(engine: Engine) -> list[str]:
    return sorted(row["status"] for row in rows(engine, Outbox) if row["kind"] == HINT)


def test_after_a_restore_transactions_with_lower_numbers_count_as_changes(engine: Engine) -> None:
    load(engine)
    change(engine)
    later = str(int(hint(engine)) + 1_000_000)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox"))
    since = hint(engine, later)
    assert int(since) < int(later)
    assert hints(engine) == ["waiting"]


def test_one_waits_however_much_changes_and_another_follows_later_changes(
    engine: Engine, hinting: Settings
) -> None:
    load(engine)
    assert hint(engine) == "0"
    assert hints(engine) == []
    change(engine)
    since = hint(engine)
    assert since != "0"
    change(engine, "q111")
    assert hint(engine, since) == since
    assert hints(engine) == ["waiting"]
    deliver_due(engine, hinting)
    later = hint(engine, since)
    assert hints(engine) == ["delivered", "waiting"]
    deliver_due(engine, hinting)
    assert hint(engine, later) == later
    assert hints(engine) == ["delivered", "delivered"]


def test_what_a_slow_transaction_changes_is_hinted_at_once_it_is_committed(
    engine: Engine, hinting: Settings
) -> None:
    load(engine)
    slow = upload(answer("q110", AT))
    deliver(engine, slow)
    with engine.connect() as connection:
        replay(connection, [uuid_of(slow)], now=NOW, default_zone=DEFAULT_ZONE)
        change(engine, "q210")
        since = hint(engine)
        assert hints(engine) == []  # a reader would not see the faster one yet
        connection.commit()
    since = hint(engine, since)
    deliver_due(engine, hinting)
    assert hint(engine, since) == since
    with engine.begin() as connection:
        found = changes.read_changes(connection, changes.Cursor(), limit=10)
    assert {each["user_id"] for each in found.learners} == {1, 2}


def test_I11_a_hint_holds_nothing(engine: Engine, hinting: Settings, receiver: Receiver) -> None:
    load(engine)
    change(engine)
    hint(engine)
    deliver_due(engine, hinting)
    (request,) = receiver.verified()
    assert request.json().keys() == {"type", "timestamp", "data"}
    assert (request.json()["type"], request.json()["data"]) == (HINT, {})


def test_a_dead_hint_is_followed_by_others_and_not_sent_again(engine: Engine) -> None:
    load(engine)
    change(engine)
    since = hint(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE outbox SET status = 'dead', finished_at = now()"))
    change(engine, "q111")
    hint(engine, since)
    assert hints(engine) == ["dead", "waiting"]
    with engine.begin() as connection:
        assert webhooks.retry_webhooks(connection, webhooks.Status.DEAD) == 0


@contextmanager
def sweeping(*settings: Settings) -> Iterator[None]:
    sweepers = [Sweeper(each) for each in settings]
    threads = [Thread(target=each.run) for each in sweepers]
    for thread in threads:
        thread.start()
    yield
    for each in sweepers:
        each.stop()
    for thread in threads:
        thread.join(30)


def test_several_sweepers_hint(engine: Engine, hinting: Settings, receiver: Receiver) -> None:
    load(engine)
    with sweeping(hinting, hinting):
        change(engine)
        until(lambda: HINT in {request.json()["type"] for request in receiver.requests}, "a hint is sent")


def test_without_the_setting_nothing_is_hinted_at(
    engine: Engine, hinting: Settings, receiver: Receiver
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    with sweeping(hinting.model_copy(update={"webhook_progress": False})):
        until(lambda: len(receiver.requests) == 2, "the session's webhooks are sent")
    assert hints(engine) == []
