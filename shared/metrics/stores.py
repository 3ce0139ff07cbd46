"""What the stores know, asked at a scrape: each within a deadline, none in another's way."""

import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from shared.config import Settings
from shared.db import make_engine
from shared.failure import describe
from shared.heartbeat import age
from shared.metrics.counted import SPACE
from shared.queue import SWEEP, depth, make_celery
from shared.spool import connect, spooled
from shared.uploads.standing import standing

log = structlog.get_logger()

# Prometheus waits for 10 s by default; a store that is well answers in milliseconds.
DEADLINE_S = 2.0

Ask = Callable[[], list[Metric]]


class Stores(Collector):
    """Ask Postgres, Redis and the broker on connections of their own: ingest never waits for them.

    Each has one thread: a store that hangs holds that, and is asked again when it lets go.
    """

    def __init__(self, settings: Settings) -> None:
        asks: dict[str, Ask] = {"postgres": _postgres(settings), "broker": _broker(settings)}
        if settings.redis_url:
            asks["redis"] = _redis(settings)
        self._asks = [(name, ask, ThreadPoolExecutor(1, f"scrape-{name}")) for name, ask in asks.items()]

    def collect(self) -> Iterator[Metric]:
        """Return what was answered in time, and which store did answer."""
        futures = {name: thread.submit(ask) for name, ask, thread in self._asks}
        wait(futures.values(), DEADLINE_S)
        answers = _gauge("store_answers", "Whether a store answered this scrape", "store")
        for name, future in futures.items():
            found = _answer(name, future)
            answers.add_metric([name], found is not None)
            yield from found or []
        yield answers


def _answer(name: str, future: Future[list[Metric]]) -> list[Metric] | None:
    if not future.done():
        future.cancel()
        log.warning("scrape.store_failed", store=name, error="no answer in time")
        return None
    if error := future.exception():
        log.warning("scrape.store_failed", store=name, error=describe(error))
        return None
    return future.result()


def _postgres(settings: Settings) -> Ask:
    brief = {"lock_timeout": DEADLINE_S, "task_time_limit": DEADLINE_S}
    engine = make_engine(settings.model_copy(update=brief), pre_ping=True, scanning=True)

    # Beside the age that is judged by it.
    sweep_every = _gauge("sweep_every_seconds", "Time between two sweeps, as set", value=settings.sweep_every)

    def ask() -> list[Metric]:
        with engine.connect() as connection:
            return [*_look(connection), sweep_every]

    # psycopg warns of connections that are forgotten while open.
    weakref.finalize(ask, engine.dispose)
    return ask


def _look(connection: Connection) -> list[Metric]:
    now = standing(connection)
    uploads = _gauge("uploads", "Uploads that wait, or have failed and are not purged", "status")
    for status, count in (("received", now.waiting), ("rejected", now.rejected), ("dead", now.dead)):
        uploads.add_metric([status], count)
    oldest = (datetime.now(UTC) - now.oldest).total_seconds() if now.oldest else 0.0
    swept = age(connection, SWEEP)
    return [
        uploads,
        _gauge("conflicts", "Other content that came under a known uuid", value=now.conflicts),
        _gauge("oldest_received_age_seconds", "Age of the longest waiting upload; 0: none", value=oldest),
        _gauge(
            "last_sweep_age_seconds",
            "Time since the last sweep; infinite: there was none",
            value=float("inf") if swept is None else swept,
        ),
    ]


def _redis(settings: Settings) -> Ask:
    redis = connect(settings.redis_url)
    return lambda: [_gauge("spool_length", "Uploads that Redis alone holds", value=spooled(redis))]


def _broker(settings: Settings) -> Ask:
    app = make_celery(settings)
    return lambda: [_gauge("queue_depth", "Rings that wait in the broker", value=depth(app))]


def _gauge(name: str, told: str, *labels: str, value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{SPACE}_{name}", told, value, labels or None)
