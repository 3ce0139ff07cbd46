"""The synchronous design: each request replays its upload by our own replay, and then answers."""

from datetime import UTC, datetime

from benchmarks.peers.web import serve, settings
from shared.db import make_engine
from shared.replay import replay
from shared.uploads import Delivery, receive

engine = make_engine(settings, pool_size=settings.web_requests)


def accept(body: bytes) -> None:
    """Record an upload and replay it at once."""
    now = datetime.now(UTC)
    delivery = Delivery.read(body, now)
    with engine.begin() as connection:
        receive(connection, [delivery], first_try_after=settings.first_try_after)
    with engine.begin() as connection:
        replay(connection, [delivery.client_session_uuid], now=now, default_zone=settings.study_time_zone)


if __name__ == "__main__":
    serve(accept)
