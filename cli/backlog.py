"""What waits outside Postgres: rings in the broker, uploads in the spool."""

import os
from typing import NamedTuple

import click
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared import spool
from shared.broker import depth, make_celery
from shared.config import Settings, load_settings


class Backlog(NamedTuple):
    """How much waits; None where that is not known."""

    rings: int | None
    spooled: int | None


def count_backlog() -> Backlog:
    """Ask the broker and the spool; one that cannot be asked is named on stderr."""
    if not os.environ.get("BROKER_URL"):
        click.echo("rings and spool are not counted: BROKER_URL is not set", err=True)
        return Backlog(None, None)
    settings = load_settings(Settings)
    return Backlog(_rings(settings), _spooled(settings))


def _rings(settings: Settings) -> int | None:
    app = make_celery(settings)
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1)
        return depth(app)
    except (OperationalError, RedisError) as error:
        click.echo(f"rings are not counted: the broker does not answer ({type(error).__name__})", err=True)
        return None


def _spooled(settings: Settings) -> int | None:
    if not settings.redis_url:
        return None  # there is no spool
    try:
        with spool.connect(settings.redis_url) as redis:
            return spool.spooled(redis)
    except RedisError as error:
        click.echo(f"the spool is not counted: Redis does not answer ({type(error).__name__})", err=True)
        return None
