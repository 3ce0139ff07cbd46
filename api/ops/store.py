"""Ask the database for operators, on connections of their own: ingest never waits for them."""

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

import structlog
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from api.store import Breaker
from shared.config import Settings
from shared.db import make_engine
from shared.errors import StoreUnavailableError, StudyIngestError
from shared.failures import describe, is_away

log = structlog.get_logger()

# Of the requests that a web process serves at once, one in so many may be an operator's: each has a
# connection to Postgres of its own.
SHARE = 16
# A search may look at more than a door does, but an operator who waits longer presses the key again.
DEADLINE_S = 5.0
# Below the deadline, so that Postgres gives a connection back before its request gives up.
STATEMENT_S = 4.0
LOCK_S = 2.0
# Long enough for a page that is being made meanwhile.
PATIENCE_S = 0.25

AWAY = "Postgres does not answer; uploads go to the spool, if there is one."
TOO_MANY = "Too many operators ask at once."
LOCKED = "Somebody else holds this row."
SLOW = "Postgres takes too long over this, or somebody else holds it up."

T = TypeVar("T")


class Desk:
    """Answer a few requests at a time, each within a deadline; refuse those that are too many."""

    def __init__(self, settings: Settings) -> None:
        places = max(1, settings.web_requests // SHARE)
        brief = {"lock_timeout": LOCK_S, "task_time_limit": STATEMENT_S}
        self._engine = make_engine(
            settings.model_copy(update=brief), pool_size=places, pre_ping=True, scanning=True
        )
        # psycopg warns of connections that are forgotten while open.
        weakref.finalize(self, self._engine.dispose)
        self._places = BoundedSemaphore(places)
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="ops")
        self._breaker = Breaker(settings.store_pause, "operators")

    def read(self, question: Callable[[Connection], T]) -> T:
        """Ask something; raise StoreUnavailableError past the deadline, or where it is refused for now."""
        return self.act(lambda engine: _ask(engine, question))

    def act(self, work: Callable[[Engine], T]) -> T:
        """Do something that commits by itself; past the deadline it may yet be done."""
        if not self._places.acquire(timeout=PATIENCE_S):
            raise StoreUnavailableError(TOO_MANY)
        try:
            return self._await(work)
        finally:
            self._places.release()

    def _await(self, work: Callable[[Engine], T]) -> T:
        if not self._breaker.lets_through():
            raise StoreUnavailableError(AWAY)
        future = self._threads.submit(work, self._engine)
        try:
            result = future.result(DEADLINE_S)
        except (TimeoutError, SQLAlchemyError) as error:
            future.cancel()
            log.warning("ops.store_failed", error=describe(error))
            raise self._judge(error) from None
        except StudyIngestError:  # refused by what the store knows
            self._breaker.close()
            raise
        self._breaker.close()
        return result

    def _judge(self, error: TimeoutError | SQLAlchemyError) -> Exception:
        """Tell who is to be told of a failure what; only a store that is away is left alone for a while."""
        if isinstance(error, TimeoutError) or is_away(error):
            self._breaker.trip()
            return StoreUnavailableError(AWAY)
        self._breaker.close()
        match getattr(error, "orig", None):
            case LockNotAvailable() | DeadlockDetected():
                return StoreUnavailableError(LOCKED)
            case QueryCanceled():
                return StoreUnavailableError(SLOW)
        return error


def _ask(engine: Engine, question: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        return question(connection)
