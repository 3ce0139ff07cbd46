"""What the senders of messages do when Redis refuses one."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from cli.local.servers import Servers
from shared import broker, spool
from shared.config import Settings
from shared.errors import StoreUnavailableError
from tests.factories import answer, delivery, upload
from tests.processes import until


@pytest.fixture
def demoted(broker_url: str, servers: Servers) -> Iterator[Redis]:
    """Make Redis what a fail-over makes of a master: one that answers and takes nothing."""
    assert broker_url
    with Redis.from_url(servers.redis_url) as redis:
        redis.replicaof("127.0.0.1", "1")
        yield redis
        redis.replicaof("NO", "ONE")


def clients(redis: Redis) -> set[str]:
    return {client["id"] for client in redis.client_list()} - {str(redis.client_id())}


def test_a_connection_to_a_broker_that_is_no_master_any_more_is_given_up(
    settings: Settings, demoted: Redis
) -> None:
    before = clients(demoted)
    app = broker.make_celery(settings)
    with pytest.raises(OperationalError), app.producer_pool.acquire() as producer:
        broker.enqueue(producer, app, [uuid4()])
    until(lambda: clients(demoted) <= before, "the connection is closed")
    demoted.replicaof("NO", "ONE")
    with app.producer_pool.acquire() as producer:
        broker.enqueue(producer, app, [uuid4()])
    assert broker.queue_length(app) == 1


def test_a_connection_to_a_spool_that_is_no_master_any_more_is_given_up(
    settings: Settings, demoted: Redis
) -> None:
    before = clients(demoted)
    with spool.connect(settings.redis_url) as redis:
        with pytest.raises(StoreUnavailableError):
            spool.push(redis, delivery(upload(answer("q110", "2026-11-20T09:00:00Z"))))
        until(lambda: clients(demoted) <= before, "the connection is closed")
