"""Webhooks are claimed by lease, their tries counted, and none is sent for a voided session."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.config import Settings
from shared.ops.actions import void_upload
from shared.webhooks import Status, claim, retry_webhooks
from tests.factories import answer, ingest, upload, uuid_of
from tests.race import at_once
from tests.receiver import Receiver, first, status
from tests.webhooks import (
    ELEVEN,
    MAX_TRIES,
    configured,
    deliver_due,
    fates,
    finished_session,
    keep_only,
    let_all_be_due,
)
from worker.sweeper import MAX_WEBHOOKS

Row = dict[str, Any]


@pytest.fixture
def with_receiver(settings: Settings, receiver: Receiver) -> Settings:
    """Return settings that name the receiver."""
    return configured(settings, webhook_url=receiver.url)


@pytest.fixture
def sent(engine: Engine) -> Row:
    return finished_session(engine)


@pytest.mark.usefixtures("sent")
def test_I9_its_tries_are_exhausted(engine: Engine, with_receiver: Settings, receiver: Receiver) -> None:
    receiver.then(status(500, b"never"))
    for _ in range(MAX_TRIES + 1):
        deliver_due(engine, with_receiver)
        let_all_be_due(engine)
    assert fates(engine) == [("dead", MAX_TRIES, "500 never")] * 2
    assert len(receiver.requests) == 2 * MAX_TRIES


def cut_off(engine: Engine, with_receiver: Settings) -> int:
    """Claim as a sweeper does that is killed before it could deliver."""
    with engine.begin() as connection:
        return len(claim(connection, with_receiver, limit=MAX_WEBHOOKS))


@pytest.mark.usefixtures("sent")
def test_I1_what_was_cut_off_is_delivered_when_its_lease_is_over(
    engine: Engine, with_receiver: Settings
) -> None:
    assert cut_off(engine, with_receiver) == 2
    assert deliver_due(engine, with_receiver) == 0
    let_all_be_due(engine)
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("delivered", 2, None)] * 2


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize(("ahead", "delivered"), [("3 days", 2), ("23 hours", 0)])
def test_I1_after_the_clock_went_back_webhooks_are_delivered_at_once(
    engine: Engine, with_receiver: Settings, ahead: str, delivered: int
) -> None:
    """A receiver may ask for a wait of a day."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE outbox SET next_try_at = now() + CAST(:ahead AS interval)"), {"ahead": ahead}
        )
    assert deliver_due(engine, with_receiver) == delivered


@pytest.mark.usefixtures("sent")
def test_I9_what_is_always_cut_off_is_dead(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    for _ in range(MAX_TRIES):
        assert cut_off(engine, with_receiver) == 2
        let_all_be_due(engine)
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("dead", MAX_TRIES, "every try was cut off")] * 2
    assert receiver.requests == []


@pytest.mark.usefixtures("sent")
def test_several_deliverers_deliver_each_once(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    for _ in range(MAX_WEBHOOKS):
        ingest(engine, upload(answer("q110", ELEVEN)))
    delivered = at_once(4, lambda _: deliver_due(engine, with_receiver))
    assert max(delivered) <= MAX_WEBHOOKS
    ids = {request.id for request in receiver.verified()}
    assert sum(delivered) == len(ids) == len(receiver.requests) == 2 * MAX_WEBHOOKS + 2


@pytest.mark.usefixtures("sent")
def test_what_another_is_about_to_claim_is_not_waited_for(engine: Engine, with_receiver: Settings) -> None:
    with engine.begin() as another:
        assert len(claim(another, with_receiver, limit=1)) == 1
        assert deliver_due(engine, with_receiver) == 1
    assert sorted(fate for fate, _, _ in fates(engine)) == ["delivered", "waiting"]


@pytest.mark.usefixtures("sent")
def test_no_transaction_waits_for_the_receiver(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    transactions = text("""
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
            AND backend_type = 'client backend'
    """)
    counted = []

    def count() -> None:
        with engine.connect() as connection:
            counted.append(connection.scalar(transactions))

    keep_only(engine, "weak_areas")
    receiver.then(first(count, status(200)))
    deliver_due(engine, with_receiver)
    assert counted == [0]


def void(engine: Engine, sent: Row) -> int:
    with engine.begin() as connection:
        return void_upload(connection, uuid_of(sent), reason="a test")


def test_a_session_may_be_voided_while_the_receiver_thinks(
    engine: Engine, with_receiver: Settings, receiver: Receiver, sent: Row
) -> None:
    receiver.then(first(lambda: void(engine, sent), status(200)))
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("skipped", 1, "session voided")] * 2


@pytest.mark.usefixtures("sent")
def test_nothing_is_sent_for_a_voided_session(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    receiver.then(status(500))
    deliver_due(engine, with_receiver)
    with engine.begin() as connection:
        connection.execute(text("UPDATE study_quiz_sessions SET voided_at = now()"))
    let_all_be_due(engine)
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("skipped", 1, "session voided")] * 2
    assert len(receiver.requests) == 2


@pytest.mark.usefixtures("sent")
def test_without_a_receiver_all_are_skipped_and_say_so(engine: Engine, settings: Settings) -> None:
    assert deliver_due(engine, settings) == 0
    assert fates(engine) == [("skipped", 0, "no receiver: WEBHOOK_URL is not set")] * 2


@pytest.mark.usefixtures("sent")
def test_a_failure_after_its_lease_does_not_end_that_of_another(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    def overtake() -> None:
        let_all_be_due(engine)
        cut_off(engine, with_receiver)

    keep_only(engine, "weak_areas")
    receiver.then(first(overtake, status(500)))
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("waiting", 2, None)]
    assert deliver_due(engine, with_receiver) == 0


@pytest.mark.parametrize("answer_of_the_first", [410, 200, 503])
@pytest.mark.usefixtures("sent")
def test_an_answer_of_an_earlier_try_does_not_end_the_present_one(
    engine: Engine, with_receiver: Settings, receiver: Receiver, answer_of_the_first: int
) -> None:
    """Its lease ends, it is dead, an operator sets it back, and it is claimed again as the first try."""

    def retry() -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE outbox SET status = 'dead', finished_at = now()"))
            assert retry_webhooks(connection, Status.DEAD) == 1
        cut_off(engine, with_receiver)

    keep_only(engine, "weak_areas")
    receiver.then(first(retry, status(answer_of_the_first)))
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("waiting", 1, None)]
    assert deliver_due(engine, with_receiver) == 0
