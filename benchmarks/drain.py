"""P2: uploads worked off in a second by real workers, beside the same statements run by pgbench."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

from celery import Celery
from sqlalchemy import Engine, text

from benchmarks import pgbench
from benchmarks.figure import Figure, ratio
from benchmarks.ground import PROCFILE, Ground, running
from benchmarks.lessons import UnfinishedError, make_catalog, make_uploads, see_replayed
from benchmarks.recorded import record
from cli.local.supervisor import wait_until
from shared.broker import FINALIZE_QUEUE, RING_SIZE, depth, make_celery, ring
from shared.replay import replay
from shared.retries import Overdue, share_out

UPLOADS, QUICK_UPLOADS = 1000, 120  # each of its own learner: none waits for another
CLIENTS, QUICK_CLIENTS = (2, 4, 8), (4,)
ROUNDS = 5
WARMING_RINGS = 40
PATIENCE_S = 300.0
FILLED = "drain_filled"

_WAITING = text("SELECT EXISTS (SELECT FROM uploads WHERE status = 'received')")


def measure(ground: Ground, *, quick: bool) -> list[Figure]:
    """Work the same queue off by workers and by pgbench in turn."""
    with filled(ground, QUICK_UPLOADS if quick else UPLOADS) as uploads:
        recorded = _record(ground, uploads)

        def by_pgbench(clients: int) -> float:
            with ground.database("drain", FILLED), ground.engine("drain") as engine:
                speed = pgbench.run(ground, "drain", recorded, clients)
                see_replayed(engine)
                return speed

        clients = max(QUICK_CLIENTS if quick else CLIENTS, key=by_pgbench)
        pairs = [(by_workers(ground, uploads), by_pgbench(clients)) for _ in range(ROUNDS)]
    ours, theirs = zip(*pairs, strict=True)
    beside = f"the same statements by pgbench, {clients} clients"
    return [
        ratio("P2", f"uploads worked off ÷ {beside}", ours, theirs, "≥ 0.3"),
        Figure("drain", "uploads worked off", ours, "/s"),
        Figure("pgbench", beside, theirs, "/s"),
    ]


@contextmanager
def filled(ground: Ground, uploads: int) -> Iterator[list[UUID]]:
    """Make a database in which uploads wait, of learners who were here before."""
    with ground.database(FILLED):
        with ground.engine(FILLED) as engine:
            with engine.begin() as connection:
                make_catalog(connection, uploads)
                before = make_uploads(connection, range(1, 1 + uploads), [0])
            for upload in before:
                with engine.begin() as connection:
                    replay(connection, upload, now=datetime.now(UTC), default_zone="UTC")
            with engine.begin() as connection:
                waiting = make_uploads(connection, range(1, 1 + uploads), [1])
                connection.execute(text("ANALYZE"))
        yield waiting


def _record(ground: Ground, uploads: list[UUID]) -> pgbench.Uploads:
    with ground.database("drain_recorded", FILLED), ground.engine("drain_recorded") as engine:
        with engine.begin() as connection:
            restart = f"ALTER SEQUENCE {pgbench.SESSION_IDS} RESTART {pgbench.RECORDED_FROM}"
            connection.execute(text(restart))
        return record(ground.url("drain_recorded"), uploads)


def by_workers(ground: Ground, uploads: Sequence[UUID]) -> float:
    """Let the Procfile's worker work a full queue off; return the uploads in a second."""
    settings = ground.settings("drain")
    with (
        ground.database("drain", FILLED),
        ground.engine("drain") as engine,
        ground.broker() as redis,
    ):
        redis.flushall()
        with running(ground, settings, {"worker": PROCFILE["worker"]}):
            app = make_celery(settings)
            _warm_up(app)
            with _held(app):
                ring_all(app, uploads)
            speed = until_finished(engine, len(uploads))
        redis.flushall()
        return speed


def ring_all(app: Celery, uploads: Iterable[UUID]) -> None:
    """Ring for all uploads, as the sweeper does."""
    overdue = [Overdue(upload, 1) for upload in uploads]
    with app.producer_pool.acquire(block=True) as producer:
        for together in share_out(overdue, RING_SIZE):
            ring(producer, app, together)


def _warm_up(app: Celery) -> None:
    """Let every child of the worker connect, by rings for uploads that do not exist."""
    ring_all(app, [uuid4() for _ in range(WARMING_RINGS)])
    if not wait_until(lambda: bool(app.control.ping(timeout=0.5)) and not depth(app), PATIENCE_S):
        raise UnfinishedError("no worker answers")


@contextmanager
def _held(app: Celery) -> Iterator[None]:
    """Keep the workers from their queue while it is filled."""
    app.control.cancel_consumer(FINALIZE_QUEUE, reply=True)
    yield
    app.control.add_consumer(FINALIZE_QUEUE)


def until_finished(engine: Engine, uploads: int) -> float:
    """Wait until no upload waits any more; return the uploads in a second."""
    start = time.perf_counter()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not wait_until(lambda: not connection.execute(_WAITING).scalar_one(), PATIENCE_S):
            raise UnfinishedError(f"the uploads are not worked off after {PATIENCE_S:.0f} s")
    took = time.perf_counter() - start
    see_replayed(engine)
    return uploads / took
