"""What an arrival and a replay cost Postgres: write-ahead log, HOT updates, statements, and CPU."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psutil
import psycopg
from sqlalchemy import Engine, text

from benchmarks.figures import Figure
from benchmarks.servers import Stores, libpq
from benchmarks.workload import LEARNERS, body, make_catalog, replay_all, upload_id
from shared.broker import MESSAGE_SIZE
from shared.db import make_engine, statements_sent
from shared.uploads import Delivery, receive

ROUNDS, QUICK_ROUNDS = 5, 2
# Older rows, so that each random id is in another page of an index, as in a table that is in use.
PAST = 200_000
_PAST = [
    text("""
        INSERT INTO uploads (client_session_uuid, content_hash, received_at, next_try_at, status,
            finalized_at)
        SELECT gen_random_uuid(), 'made', now(), now(), 'ingested', now()
        FROM generate_series(1, CAST(:past AS int))
    """),
    text("""
        INSERT INTO outbox (kind, client_session_uuid, status, finished_at)
        SELECT 'upload.dead', gen_random_uuid(), 'skipped', now() FROM generate_series(1, CAST(:past AS int))
    """),
]
# pg_stat_wal adds up the records and the pages that are written in full after a checkpoint.
_WAL = b"""
    SELECT sum(record_size)::float8, sum(fpi_size)::float8
    FROM pg_get_wal_stats(%s, pg_current_wal_flush_lsn())
"""
_HOT = b"""
    SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY relname
"""
_FLUSH = text("SELECT pg_stat_force_next_flush()")


class Spent(NamedTuple):
    """For each upload: bytes of records, bytes of whole pages, statements, and ms of the backend's CPU."""

    records: float
    pages: float
    statements: float
    cpu: float


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Receive and replay uploads: one round after a checkpoint, then rounds without a checkpoint."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with stores.database("wal"), _no_autovacuum(stores), stores.engine("wal") as engine:
        with engine.begin() as connection:
            make_catalog(connection)
            for statement in _PAST:
                connection.execute(statement, {"past": PAST})
        arrivals = make_engine(stores.settings("wal"), autocommit=True)
        with psycopg.connect(libpq(stores.url("wal")), autocommit=True) as admin:
            admin.execute("CREATE EXTENSION pg_walinspect")
            admin.execute("VACUUM ANALYZE")
            _round(admin, arrivals, engine, 0)  # so that questions have progress
            admin.execute("CHECKPOINT")
            first = _round(admin, arrivals, engine, 1)
            admin.execute("SELECT pg_stat_reset()")
            steady = [_round(admin, arrivals, engine, number) for number in range(2, 2 + rounds)]
            with arrivals.connect() as one, engine.begin() as other:
                one.execute(_FLUSH)
                other.execute(_FLUSH)
            hot = admin.execute(_HOT).fetchall()
        arrivals.dispose()
    return [*_figures(first, steady), *(_share(*row) for row in hot)]


def _round(admin: psycopg.Connection, arrivals: Engine, engine: Engine, number: int) -> dict[str, Spent]:
    """Receive an upload of each learner; replay half of the uploads one by one, the others in groups."""
    sent = range(number * LEARNERS, (number + 1) * LEARNERS)
    ids, half = [upload_id(each) for each in sent], LEARNERS // 2

    def arrive() -> None:
        for each in sent:
            delivery = Delivery(upload_id(each), body(each).decode(), "made")
            with arrivals.connect() as connection:
                receive(connection, [delivery], first_try_after=30)

    return {
        "arrival": _spent(admin, arrivals, arrive, len(ids)),
        "replay": _spent(admin, engine, lambda: replay_all(engine, ids[:half]), half),
        "replay together": _spent(admin, engine, lambda: replay_all(engine, ids[half:], MESSAGE_SIZE), half),
    }


def _spent(admin: psycopg.Connection, engine: Engine, work: Callable[[], None], uploads: int) -> Spent:
    with engine.connect() as connection:
        backend = psutil.Process(int(connection.scalar(text("SELECT pg_backend_pid()")) or 0))
    (start,) = admin.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or ("",)
    cpu, sent = sum(backend.cpu_times()[:2]), statements_sent()
    work()
    cpu, sent = sum(backend.cpu_times()[:2]) - cpu, statements_sent() - sent
    records, pages = admin.execute(_WAL, [start]).fetchone() or (0.0, 0.0)
    return Spent(records / uploads, pages / uploads, sent / uploads, cpu * 1000 / uploads)


@contextmanager
def _no_autovacuum(stores: Stores) -> Iterator[None]:
    """Keep autovacuum from writing to the write-ahead log in the middle of a round."""
    for statement in ("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()"):
        stores.administer(statement)
    try:
        yield
    finally:
        for statement in ("ALTER SYSTEM RESET autovacuum", "SELECT pg_reload_conf()"):
            stores.administer(statement)


def _figures(first: dict[str, Spent], steady: Sequence[dict[str, Spent]]) -> Iterator[Figure]:
    notes = {
        "arrival": "an arrival",
        "replay": "a replay",
        "replay together": f"a replay, {MESSAGE_SIZE} uploads in one transaction",
    }
    for name, what in notes.items():
        records, pages, statements, cpu = zip(*(each[name] for each in steady), strict=True)
        yield Figure(f"WAL {name}", f"records of {what}", records, "bytes")
        yield Figure(f"WAL {name} pages", f"whole pages of {what}, no checkpoint before", pages, "bytes")
        after = (first[name].pages,)
        yield Figure(f"WAL {name} first", f"whole pages of {what}, after a checkpoint", after, "bytes")
        yield Figure(f"{name} statements", f"statements of {what}", statements)
        yield Figure(f"{name} CPU", f"Postgres' CPU of {what}", cpu, "ms")


def _share(table: str, updates: int, hot: int) -> Figure:
    return Figure(f"HOT {table}", f"HOT updates of {table}", (100 * hot / updates,), "%")
