"""Postgres for operators, on separate connections: uploads never wait for requests of operators."""

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import BoundedSemaphore
from typing import TypeVar

import structlog
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from api.store import Breaker
from shared import db, failures
from shared.config import Settings
from shared.errors import StoreUnavailableError

log = structlog.get_logger()

# Of the requests that a web process serves at once, one in SHARE may be an operator's. Each request of an
# operator has its own connection to Postgres.
SHARE = 16
# A search may read more than an upload does, but an operator who waits longer than this sends the search
# again.
DEADLINE_S = 5.0
# Below the deadline, so that the connection is free again before its request gives up.
STATEMENT_S = 4.0
LOCK_S = 2.0
# Long enough for another operator's page to be finished.
FREE_CONNECTION_S = 0.25

AWAY = "Postgres does not answer; uploads go to the spool, if there is one."
TOO_MANY = "Too many requests of operators at once."
LOCKED = "Another transaction has locked a row that this request needs."
SLOW = "Postgres takes too long for this request, or another transaction blocks the request."

T = TypeVar("T")


class OperatorStore:
    """Run a few requests of operators at a time, each within a deadline; refuse further requests."""

    def __init__(self, settings: Settings) -> None:
        connections = max(1, settings.web_requests // SHARE)
        self._engine = db.make_engine(
            settings.model_copy(update={"lock_timeout": LOCK_S}),
            pool_size=connections,
            pre_ping=True,
            scanning=True,
            statement_limit=STATEMENT_S,
        )
        # psycopg warns of open connections that are garbage collected.
        weakref.finalize(self, self._engine.dispose)
        self._connections = BoundedSemaphore(connections)
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="ops")
        self._breaker = Breaker(settings.store_pause, "operators")

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run a function that reads; nothing is committed.

        Raise StoreUnavailableError if too many requests of operators run, if Postgres is away or too slow, or
        if a row is locked.
        """
        return self._run(self._engine.connect, work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run a function in a transaction, and commit the transaction; raise the same errors as `read`.

        After the deadline, the transaction may still be committed.
        """
        return self._run(self._engine.begin, work)

    def _run(
        self, connect: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], T]
    ) -> T:
        def on_a_thread() -> T:
            with connect() as connection:
                return work(connection)

        if not self._connections.acquire(timeout=FREE_CONNECTION_S):
            raise StoreUnavailableError(TOO_MANY)
        try:
            if not self._breaker.allows():
                raise StoreUnavailableError(AWAY)
            future = self._threads.submit(on_a_thread)
            try:
                result = future.result(DEADLINE_S)
            except (TimeoutError, SQLAlchemyError) as error:
                future.cancel()
                log.warning("ops.store_call_failed", error=failures.describe(error))
                raise self._note_failure(error) from None
            except Exception:  # Postgres has answered
                self._breaker.close()
                raise
            self._breaker.close()
            return result
        finally:
            self._connections.release()

    def _note_failure(self, error: TimeoutError | SQLAlchemyError) -> Exception:
        """Open the breaker if Postgres is away or too late, else close it; return the error to raise."""
        if isinstance(error, TimeoutError) or failures.is_away(error):
            self._breaker.trip()
            return StoreUnavailableError(AWAY)
        self._breaker.close()
        match getattr(error, "orig", None):
            case LockNotAvailable() | DeadlockDetected():
                return StoreUnavailableError(LOCKED)
            case QueryCanceled():
                return StoreUnavailableError(SLOW)
        return error
