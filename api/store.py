"""Record deliveries durably within a deadline: those that wait together are committed together."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar
from uuid import UUID

import structlog
from psycopg.errors import LockNotAvailable
from redis import Redis
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, OperationalError, SQLAlchemyError

from shared.errors import StoreUnavailableError, StudyIngestError
from shared.failures import describe
from shared.metrics import BREAKER_OPEN
from shared.spool import answers, push
from shared.uploads import Delivery, Found, Receipt, Verdict, find, receive


class Breaker:
    """Let everybody through while a store answers; after a failure, one request every `pause` seconds.

    A failure is forgotten that nobody has asked after for two pauses: to refuse a burst by it would be rash.
    """

    def __init__(self, pause: float, store: str) -> None:
        self._open = BREAKER_OPEN.labels(store)
        self._open.set(0)
        self._pause = pause
        self._retry_at: float | None = None
        self._lock = threading.Lock()

    def lets_through(self) -> bool:
        """Tell whether to ask the store; the answer is to be told by `close` or `trip`."""
        with self._lock:
            now = time.monotonic()
            if self._retry_at is not None and now > self._retry_at + self._pause:
                self.close()
            if self._retry_at is not None and now < self._retry_at:
                return False
            if self._retry_at is not None:
                self._retry_at = now + self._pause
            return True

    def close(self) -> None:
        """Note that the store answered."""
        if self._retry_at is not None:
            self._open.set(0)
        self._retry_at = None

    def trip(self) -> None:
        """Note that the store failed."""
        self._open.set(1)
        self._retry_at = time.monotonic() + self._pause


log = structlog.get_logger()

# More would make the first of a batch wait for the last without saving a measurable share of the commit.
MAX_BATCH = 64
# In characters. Usual uploads never come near; of the largest, a full batch would outlast the deadline.
MAX_BATCH_SIZE = 2_000_000
READERS = 2
WRITERS = 2
# Shorter than the deadline, so that a writer is free again when its request has given up.
LOCK_SHARE = 0.7
# Seconds. Who learns so late that the deadline is over was kept waiting by this process, not by the store.
LATE_S = 0.25
# A batch waits for a lock, and then the one delivery of it that needs the lock: both within the deadline.
ARRIVALS_LOCK_SHARE = 0.25

_LIMIT_LOCK_WAIT = text("SELECT set_config('lock_timeout', :milliseconds, TRUE)")

T = TypeVar("T")


class Recorder:
    """Write uploads from one thread, so that a frozen Postgres holds that thread and no request.

    Neither a statement timeout nor a TCP timeout ends the wait for a server that is stopped; a deadline does.
    """

    def __init__(
        self, engine: Engine, arrivals: Engine, *, deadline: float, first_try_after: float, breaker: Breaker
    ) -> None:
        self._engine = engine
        # Its statements commit by themselves: an arrival is one, and so one round trip instead of three.
        self._arrivals = arrivals
        self._breaker = breaker
        self._deadline = deadline
        self._first_try_after = first_try_after
        self._waiting: queue.SimpleQueue[tuple[Delivery, Future[Receipt]]] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="writer")
        threading.Thread(target=self._write_for_ever, name="recorder", daemon=True).start()

    def record(self, delivery: Delivery) -> Receipt:
        """Return once the delivery is committed; raise StoreUnavailableError past the deadline."""
        return self._await(lambda: self._enqueue(delivery))

    def _enqueue(self, delivery: Delivery) -> Future[Receipt]:
        future: Future[Receipt] = Future()
        self._waiting.put((delivery, future))
        return future

    def find(self, client_session_uuid: UUID) -> Found | None:
        """Look an upload up; raise StoreUnavailableError past the deadline."""
        return self.read(lambda connection: find(connection, client_session_uuid))

    def read(self, question: Callable[[Connection], T]) -> T:
        """Ask the database something within the deadline."""
        return self._await(lambda: self._readers.submit(self._ask, question))

    def _ask(self, question: Callable[[Connection], T]) -> T:
        # Ends in a commit: at a rollback psycopg forgets the statements that it has prepared.
        with self._engine.begin() as connection:
            return question(connection)

    def write(self, change: Callable[[Connection], T]) -> T:
        """Commit a change within the deadline; one that raised StoreUnavailableError may yet be committed."""
        return self._await(lambda: self._writers.submit(self._change, change))

    def _change(self, change: Callable[[Connection], T]) -> T:
        milliseconds = str(int(self._deadline * LOCK_SHARE * 1000))
        try:
            with self._engine.begin() as connection:
                connection.execute(_LIMIT_LOCK_WAIT, {"milliseconds": milliseconds})
                return change(connection)
        except OperationalError as error:
            if isinstance(error.orig, LockNotAvailable):  # the store is busy, not away
                raise StoreUnavailableError("Somebody else holds the lock.") from None
            raise

    def _await(self, begin: Callable[[], Future[T]]) -> T:
        if not self._breaker.lets_through():
            raise StoreUnavailableError("The store is away.")
        late_at = time.monotonic() + self._deadline + LATE_S
        future = begin()
        try:
            result = future.result(self._deadline)
        except (TimeoutError, SQLAlchemyError) as error:
            future.cancel()
            late = isinstance(error, TimeoutError) and time.monotonic() > late_at
            if not late:
                self._breaker.trip()
            log.warning("store.failed", error=describe(error), late=late)
            raise StoreUnavailableError("The store is away.") from None
        except StudyIngestError:  # refused by what the store knows
            self._breaker.close()
            raise
        self._breaker.close()
        return result

    def _write_for_ever(self) -> None:
        while True:
            batch = [self._waiting.get()]
            size = len(batch[0][0].payload)
            while len(batch) < MAX_BATCH and size < MAX_BATCH_SIZE and not self._waiting.empty():
                batch.append(self._waiting.get())
                size += len(batch[-1][0].payload)
            self._write(
                [(delivery, future) for delivery, future in batch if future.set_running_or_notify_cancel()]
            )

    def _write(self, batch: list[tuple[Delivery, Future[Receipt]]]) -> None:
        try:
            receipts = self._commit([delivery for delivery, _ in batch])
        except (DataError, StoreUnavailableError) as error:
            self._fail_alone(batch, error)
        except Exception as error:  # noqa: BLE001  # it belongs to the requests that wait for it
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), receipt in zip(batch, receipts, strict=True):
                future.set_result(receipt)

    def _fail_alone(
        self, batch: list[tuple[Delivery, Future[Receipt]]], error: DataError | StoreUnavailableError
    ) -> None:
        """Let one delivery that Postgres refuses, or that is locked, fail without its neighbours."""
        if len(batch) == 1:
            batch[0][1].set_exception(error)
        for each in batch if len(batch) > 1 else []:
            self._write([each])

    def _commit(self, deliveries: list[Delivery]) -> list[Receipt]:
        if not deliveries:
            return []
        try:
            return self._receive(deliveries)
        except OperationalError as error:
            if isinstance(error.orig, LockNotAvailable):
                raise StoreUnavailableError("Somebody else holds the lock.") from None
            if not error.connection_invalidated:
                raise
            # Of before a restart, perhaps. To ask a connection first would cost every arrival a round trip.
            return self._receive(deliveries)

    def _receive(self, deliveries: list[Delivery]) -> list[Receipt]:
        with self._arrivals.connect() as connection:
            return receive(connection, deliveries, first_try_after=self._first_try_after)


# No upload has it: to look for it asks the database and learns nothing.
NIL = UUID(int=0)
# At once. Each has a connection, which takes longer to open than many uploads to push: a burst that opened
# one for each would run into the spool's timeout.
PUSHES = 4


class Intake:
    """Keep a delivery wherever it can be kept; without a spool, Postgres alone."""

    def __init__(self, recorder: Recorder, spool: Redis | None, *, pause: float) -> None:
        self._recorder = recorder
        self._redis = spool
        self._breaker = Breaker(pause, "spool")
        self._places = BoundedSemaphore(PUSHES)

    def accept(self, delivery: Delivery) -> Receipt:
        """Return once the delivery is kept; raise StoreUnavailableError if no store takes it in time."""
        try:
            return self._recorder.record(delivery)
        except StoreUnavailableError:
            self._spool(delivery)
            return Receipt(Verdict.PENDING)

    def check(self) -> None:
        """Raise StoreUnavailableError if no store would take a delivery."""
        try:
            self._recorder.find(NIL)
        except StoreUnavailableError:
            if self._redis is None or not answers(self._redis):
                raise

    def _spool(self, delivery: Delivery) -> None:
        with self._places:
            self._push(delivery)
        log.info("upload.spooled", upload=str(delivery.client_session_uuid))

    def _push(self, delivery: Delivery) -> None:
        if self._redis is None or not self._breaker.lets_through():
            raise StoreUnavailableError("No store takes the upload.")
        try:
            push(self._redis, delivery)
        except StoreUnavailableError:
            self._breaker.trip()
            raise
        self._breaker.close()
