"""Addresses of stores, as far as their form can be wrong."""

from urllib.parse import urlsplit

from redis import Redis
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps")


def postgres_url(url: str) -> str:
    """Return a Postgres URL with the driver that is ours; raise ValueError if it is none."""
    scheme, separator, rest = url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        scheme = "postgresql+psycopg"
    try:
        sound = scheme == "postgresql+psycopg" and separator and make_url(f"{scheme}://{rest}")
    except (ArgumentError, ValueError):
        sound = False
    if not sound:
        raise ValueError("must be a Postgres URL: postgresql://user@host/name")
    return f"{scheme}://{rest}"


def broker_url(url: str) -> str:
    """Return the URL of a broker; raise ValueError if it is none that we know."""
    if url.startswith("redis+socket://") and "@" in url:
        # Celery would take the whole of it for a host's name, and Flower would show it.
        raise ValueError("redis+socket:// holds no user or password: guard the socket by its mode")
    # Of several, separated by semicolons, Celery takes the next where one is away.
    for each in url.split(";"):
        if urlsplit(each).scheme not in BROKERS or not _has_sound_port(each):
            raise ValueError("must be a broker's URL: redis://host/0, redis+socket://path or amqp://host")
    return url


def redis_url(url: str) -> str:
    """Return a URL in redis-py's form, or an empty one; raise ValueError if it is neither."""
    try:
        if url:
            Redis.from_url(url)  # connects to nothing yet
    except ValueError:
        raise ValueError("must be a URL of Redis: redis://host/1 or unix://path?db=1") from None
    return url


def _has_sound_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
