"""Whether the broker answers; one that is a Redis, whether it keeps what it is given."""

from collections.abc import Iterator

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from cli.doctor.finding import Finding, fail, ok
from cli.doctor.redis import look_at_redis
from shared.broker import depth

MEND = "start the broker, or mend host, user, password or socket in BROKER_URL"


def look_at_broker(app: Celery) -> Iterator[Finding]:
    """Look at the broker and its queue."""
    with app.connection_for_read() as connection:
        try:
            connection.ensure_connection(max_retries=1)
            yield ok("broker", f"answers; {depth(app)} rings wait")
            if connection.transport.driver_type == "redis":
                client = connection.default_channel.client  # type: ignore[attr-defined]  # Redis' own
                yield from look_at_redis("broker", client)
        except (OperationalError, RedisError) as error:
            yield fail("broker", str(error), MEND)
