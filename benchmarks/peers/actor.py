"""Dramatiq on Redis: the payload is the message, which is acknowledged late; the work is our own replay."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.synchronous import accept
from benchmarks.peers.web import serve, settings

broker = RedisBroker(url=settings.redis_url)
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name="finalize")  # type: ignore[untyped-decorator]  # types are checked without this package
def finalize(body: str) -> None:
    """Record an upload and replay it."""
    accept(body.encode())


def send(body: bytes) -> None:
    """Queue an upload."""
    finalize.send(body.decode())


if __name__ == "__main__":
    serve(send)
