"""Let two transactions overlap, however fast or slow the machine is."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text

_WAITS = text("""
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = :name AND wait_event_type = 'Lock')
""")
POLL_S = 0.005

S = TypeVar("S")
T = TypeVar("T")


def overlap(
    engine: Engine, first: Callable[[Engine], S], second: Callable[[Engine], T]
) -> tuple[Future[S], Future[T]]:
    """Run `second` once `first` has done everything but commit.

    `first` commits when `second` waits for one of its locks, or has ended without waiting.
    """
    arrived, go_on = threading.Event(), threading.Event()

    def pause(_: Connection) -> None:
        arrived.set()
        go_on.wait()

    paused, other = named(engine, "first"), named(engine, "second")
    event.listen(paused, "commit", pause)
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(first, paused)
        early.add_done_callback(lambda _: arrived.set())
        arrived.wait()
        late = pool.submit(second, other)
        wait_until_blocked(engine, late, "second")
        go_on.set()
    return early, late


def wait_until_blocked(engine: Engine, running: Future[T], name: str = "study-ingest") -> None:
    """Wait until a connection of the application `name` waits for a lock, or `running` has ended."""
    while not running.done():  # if not, pytest's timeout ends the wait
        with engine.connect() as connection:
            if connection.scalar(_WAITS, {"name": name}):
                return
        time.sleep(POLL_S)


def named(engine: Engine, name: str) -> Engine:
    return create_engine(engine.url, poolclass=NullPool, connect_args={"application_name": name})


def at_once(workers: int, work: Callable[[int], T]) -> list[T]:
    """Run `work` in several threads that start together; return their results."""
    start = threading.Barrier(workers)

    def run(number: int) -> T:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(run, range(workers)))
