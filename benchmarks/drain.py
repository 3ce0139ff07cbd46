"""P2: uploads replayed per second by real workers, compared with the same statements run by pgbench."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID, uuid4

from celery import Celery
from sqlalchemy import Engine, text

from benchmarks import pgbench
from benchmarks.figures import Figure, ratio
from benchmarks.servers import PROCFILE, Stores, running
from benchmarks.workload import UnfinishedError, check_replayed, make_catalog, make_uploads, replay_all
from cli.local.supervisor import wait_until
from shared.broker import MESSAGE_SIZE, REPLAY_QUEUE, enqueue, make_celery, queue_length
from shared.retries import Overdue, split_into_messages

UPLOADS, QUICK_UPLOADS = 1000, 120  # each of another learner, so that none waits for another
CLIENTS, QUICK_CLIENTS = (2, 4, 8), (4,)
ROUNDS = 5
WARMING_MESSAGES = 40
TIMEOUT_S = 300.0
FILLED = "drain_filled"

_WAITING = text("SELECT EXISTS (SELECT FROM uploads WHERE status = 'received')")


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Replay the same uploads by workers and by pgbench in turn."""
    with filled(stores, QUICK_UPLOADS if quick else UPLOADS) as uploads:
        recorded = _record(stores, uploads)

        def by_pgbench(clients: int) -> float:
            with stores.database("drain", FILLED), stores.engine("drain") as engine:
                speed = pgbench.run(stores, "drain", recorded, clients)
                check_replayed(engine)
                return speed

        clients = max(QUICK_CLIENTS if quick else CLIENTS, key=by_pgbench)
        rounds = [
            (by_workers(stores, uploads), by_workers(stores, uploads, 1), by_pgbench(clients))
            for _ in range(ROUNDS)
        ]
    ours, alone, theirs = zip(*rounds, strict=True)
    beside = f"the same statements by pgbench, {clients} clients"
    return [
        ratio("P2", f"uploads replayed ÷ {beside}", ours, theirs, "≥ 0.75"),
        ratio(
            "P2 alone", f"uploads replayed, each in a message of its own ÷ {beside}", alone, theirs, "≥ 0.5"
        ),
        Figure("drain", "uploads replayed", ours, "/s"),
        Figure("drain alone", "uploads replayed, each in a message of its own", alone, "/s"),
        Figure("pgbench", beside, theirs, "/s"),
    ]


@contextmanager
def filled(stores: Stores, uploads: int) -> Iterator[list[UUID]]:
    """Make a database in which uploads wait, each of a learner who has answered before."""
    with stores.database(FILLED):
        with stores.engine(FILLED) as engine:
            with engine.begin() as connection:
                make_catalog(connection, uploads)
                before = make_uploads(connection, range(1, 1 + uploads), [0])
            replay_all(engine, before)
            with engine.begin() as connection:
                waiting = make_uploads(connection, range(1, 1 + uploads), [1])
                connection.execute(text("ANALYZE"))
        yield waiting


def _record(stores: Stores, uploads: list[UUID]) -> pgbench.Uploads:
    with stores.database("drain_recorded", FILLED), stores.engine("drain_recorded") as engine:
        with engine.begin() as connection:
            restart = f"ALTER SEQUENCE {pgbench.SESSION_IDS} RESTART {pgbench.RECORDED_FROM}"
            connection.execute(text(restart))
        return pgbench.record(stores.url("drain_recorded"), uploads)


def by_workers(stores: Stores, uploads: Sequence[UUID], message_size: int = MESSAGE_SIZE) -> float:
    """Let the Procfile's worker replay a full queue; return the uploads per second."""
    settings = stores.settings("drain")
    with (
        stores.database("drain", FILLED),
        stores.engine("drain") as engine,
        stores.redis() as redis,
    ):
        redis.flushall()
        with running(stores, settings, {"worker": PROCFILE["worker"]}):
            app = make_celery(settings)
            # Messages about uploads that do not exist make every child of the worker connect.
            enqueue_all(app, [uuid4() for _ in range(WARMING_MESSAGES)])
            if not wait_until(
                lambda: bool(app.control.ping(timeout=0.5)) and not queue_length(app), TIMEOUT_S
            ):
                raise UnfinishedError(f"no worker has emptied the queue within {TIMEOUT_S:.0f} s")
            # The worker takes no message until all messages are in the queue.
            app.control.cancel_consumer(REPLAY_QUEUE, reply=True)
            enqueue_all(app, uploads, message_size)
            app.control.add_consumer(REPLAY_QUEUE)
            speed = until_finished(engine, len(uploads))
        redis.flushall()
        return speed


def enqueue_all(app: Celery, uploads: Iterable[UUID], message_size: int = MESSAGE_SIZE) -> None:
    """Enqueue all uploads for a first start, in messages that are split as the sweeper splits them."""
    overdue = [Overdue(upload, 1) for upload in uploads]
    with app.producer_pool.acquire(block=True) as producer:
        for together in split_into_messages(overdue, message_size):
            enqueue(producer, app, together)


def until_finished(engine: Engine, uploads: int) -> float:
    """Wait until no upload is `received` any more; return the uploads per second."""
    start = time.perf_counter()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not wait_until(lambda: not connection.execute(_WAITING).scalar_one(), TIMEOUT_S):
            raise UnfinishedError(f"uploads still wait after {TIMEOUT_S:.0f} s")
    took = time.perf_counter() - start
    check_replayed(engine)
    return uploads / took
