"""The receiver of webhooks gets a message of a dead upload: signed, at least once, and nothing private."""

from typing import Any

import pytest
from sqlalchemy import Engine

from shared.config import Settings
from shared.models import Outbox, Upload
from shared.ops.actions import set_back
from shared.retries import count_start, fail
from tests.factories import answer, deliver, load, rows, upload, uuid_of
from tests.receiver import Receiver, status
from tests.webhooks import MAX_TRIES, configured, deliver_due, fates, let_all_be_due

Sent = dict[str, Any]


@pytest.fixture
def with_receiver(settings: Settings, receiver: Receiver) -> Settings:
    return configured(settings, webhook_url=receiver.url, retry_base=0.001, max_tries=2)


@pytest.fixture
def sent(engine: Engine) -> Sent:
    load(engine)
    made = upload(answer("q110", "2026-11-20T09:00:00Z"))
    deliver(engine, made)
    return made


def exhaust_tries(engine: Engine, sent: Sent, with_receiver: Settings) -> None:
    with engine.begin() as connection:
        count_start(connection, uuid_of(sent), max_tries=9)
        while not fail(connection, uuid_of(sent), "ValueError at some place", with_receiver):
            count_start(connection, uuid_of(sent), max_tries=9)


def test_I11_a_dead_upload_is_announced_once_by_uuid_time_and_tries(
    engine: Engine, sent: Sent, with_receiver: Settings, receiver: Receiver
) -> None:
    exhaust_tries(engine, sent, with_receiver)
    assert deliver_due(engine, with_receiver) == 1
    assert deliver_due(engine, with_receiver) == 0
    [webhook], [request] = rows(engine, Outbox), receiver.verified()
    assert request.id == str(webhook["id"])
    assert request.json() == {
        "type": "upload.dead",
        "timestamp": webhook["created_at"].isoformat(),
        "data": {"client_session_uuid": sent["client_session_uuid"], "tries": 2},
    }


def test_I1_a_refused_webhook_is_sent_again_with_the_same_id(
    engine: Engine, sent: Sent, with_receiver: Settings, receiver: Receiver
) -> None:
    exhaust_tries(engine, sent, with_receiver)
    receiver.then(status(500, b"later"), status(200))
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("waiting", 1, "500 later")]
    let_all_be_due(engine)
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("delivered", 2, None)]
    assert len({request.id for request in receiver.verified()}) == 1


def test_a_start_that_is_one_too_many_is_reported_too(
    engine: Engine, sent: Sent, with_receiver: Settings
) -> None:
    with engine.begin() as connection:
        count_start(connection, uuid_of(sent), max_tries=1)
    assert [row["status"] for row in rows(engine, Upload)] == ["dead"]
    assert deliver_due(engine, with_receiver) == 1


def test_an_upload_that_is_dead_again_after_a_replay_is_announced_again(
    engine: Engine, sent: Sent, with_receiver: Settings, receiver: Receiver
) -> None:
    exhaust_tries(engine, sent, with_receiver)
    deliver_due(engine, with_receiver)
    with engine.begin() as connection:
        set_back(connection, uuid_of(sent))
    exhaust_tries(engine, sent, with_receiver)
    assert deliver_due(engine, with_receiver) == 1
    assert len({request.id for request in receiver.verified()}) == 2


def test_an_upload_that_is_no_longer_dead_is_not_announced(
    engine: Engine, sent: Sent, with_receiver: Settings
) -> None:
    exhaust_tries(engine, sent, with_receiver)
    with engine.begin() as connection:
        set_back(connection, uuid_of(sent))
    assert deliver_due(engine, with_receiver) == 0
    assert fates(engine) == [("skipped", 0, "upload no longer dead")]


def test_a_death_that_is_rolled_back_is_not_reported(
    engine: Engine, sent: Sent, with_receiver: Settings
) -> None:
    with engine.connect() as connection:
        count_start(connection, uuid_of(sent), max_tries=1)
        connection.rollback()
    assert rows(engine, Outbox) == []
    assert deliver_due(engine, with_receiver) == 0


def test_without_a_receiver_it_is_skipped(engine: Engine, sent: Sent, with_receiver: Settings) -> None:
    exhaust_tries(engine, sent, with_receiver)
    deliver_due(engine, configured(with_receiver, webhook_url=""))
    assert [(fate, tries) for fate, tries, _ in fates(engine)] == [("skipped", 0)]


def test_a_webhook_of_a_death_is_dead_itself_after_its_tries(
    engine: Engine, sent: Sent, with_receiver: Settings, receiver: Receiver
) -> None:
    exhaust_tries(engine, sent, with_receiver)
    receiver.then(status(500, b"never"))
    for _ in range(MAX_TRIES + 1):
        deliver_due(engine, with_receiver)
        let_all_be_due(engine)
    assert fates(engine) == [("dead", MAX_TRIES, "500 never")]
