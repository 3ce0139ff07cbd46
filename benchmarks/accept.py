"""P1 and P6: uploads accepted per second, compared with a bare route, and with repeats."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Engine, text

from benchmarks.client import Answer, Load, send, throughput
from benchmarks.figures import Figure, percentile, ratio
from benchmarks.servers import GEVENT, PROCFILE, Stores, serving
from benchmarks.workload import make_catalog, upload_id
from shared.replay import replay

CONNECTIONS = (8, 64)
BARE = f"{GEVENT} benchmarks.peers.bare"
ROUNDS = 5
REQUESTS, QUICK_REQUESTS = 2000, 200
# No worker empties the queue here, but every upload must be published.
UNBOUNDED = 10**9

_INGEST = text("""
    UPDATE uploads SET status = 'ingested', finalized_at = now(), user_id = 1,
        result = (SELECT result FROM uploads WHERE result IS NOT NULL LIMIT 1)
    WHERE status = 'received'
""")


class Round(NamedTuple):
    """The answers of one round: ours, the bare route's, and ours to the same uploads again."""

    ours: list[Answer]
    bare: list[Answer]
    repeats: list[Answer]


class UnexpectedStatusError(Exception):
    """A side did not answer as it should, so its speed means nothing."""


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Send to both sides in turn, at few and at many connections."""
    settings = stores.settings("accept", queue_limit=UNBOUNDED)
    requests = QUICK_REQUESTS if quick else REQUESTS
    with (
        stores.database("accept"),
        stores.engine("accept") as engine,
        stores.redis() as redis,
        serving(stores, settings, PROCFILE["web"]) as ours,
        serving(stores, settings, BARE) as bare,
    ):
        with engine.begin() as connection:
            make_catalog(connection)
        figures = []
        for index, connections in enumerate(CONNECTIONS):
            loads = [
                Load(ours, (1 + index * (ROUNDS + 1) + number) * requests, requests, connections)
                for number in range(ROUNDS + 1)
            ]
            rounds = [_round(engine, load, bare) for load in loads][1:]  # the first warms up
            figures += _figures(connections, rounds)
        redis.flushall()
        return figures


def _round(engine: Engine, load: Load, bare: int) -> Round:
    ours = answered(load, 202)
    beside = answered(load._replace(port=bare), 202)
    # All uploads get the result of the first one's replay, so that the answers are as long as real ones.
    with engine.begin() as connection:
        replay(connection, [upload_id(load.first)], now=datetime.now(UTC), default_zone="UTC")
        connection.execute(_INGEST)
    return Round(ours, beside, answered(load, 200))


def answered(load: Load, status: int) -> list[Answer]:
    """Send a load; raise UnexpectedStatusError unless every answer has the status."""
    answers = send(load)
    if other := Counter(answer.status for answer in answers if answer.status != status):
        raise UnexpectedStatusError(f"{load}: other answers than {status}: {dict(other)}")
    return answers


def _figures(connections: int, rounds: Sequence[Round]) -> list[Figure]:
    ours, bare, repeats = [[throughput(side) for side in sides] for sides in zip(*rounds, strict=True)]
    accepted = [each.ours for each in rounds]
    at = f"at {connections} connections"
    return [
        ratio(f"P1/{connections}", f"uploads accepted ÷ bare 202 route, {at}", ours, bare, "≥ 0.42"),
        ratio(
            f"P6/{connections}", f"repeats of ingested uploads ÷ uploads accepted, {at}", repeats, ours, "≥ 1"
        ),
        Figure(f"accept/{connections}", f"uploads accepted, {at}", tuple(ours), "/s"),
        latency(f"accept/{connections} p50", f"half are accepted within, {at}", 0.5, accepted),
        latency(f"accept/{connections} p99", f"99 % are accepted within, {at}", 0.99, accepted),
    ]


def latency(name: str, meaning: str, share: float, rounds: Sequence[list[Answer]]) -> Figure:
    """Return a percentile of how long the answers of each round took."""
    values = [percentile([answer.took for answer in answers], share) * 1000 for answers in rounds]
    return Figure(name, meaning, tuple(values), "ms")
