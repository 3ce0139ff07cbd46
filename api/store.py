"""Use Postgres within a deadline; commit uploads in groups, or spool them while Postgres is away."""

import math
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar
from uuid import UUID

import structlog
from psycopg.errors import LockNotAvailable
from redis import Redis
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from shared import db, failures, metrics, uploads
from shared.errors import StoreUnavailableError, StudyIngestError, UnstorableError
from shared.spool import answers, push

log = structlog.get_logger()

# If a request notices its deadline more than this many seconds late, the process was slow, not the store, and
# the breaker stays closed.
LATE_S = 0.25
# Limit of uploads in a batch: a larger batch would delay its first upload without a measurable gain.
MAX_BATCH = 64
# A batch with this many characters gets no further upload: a batch of MAX_BATCH uploads of the largest size
# would take longer than the deadline. Usual uploads are far smaller.
MAX_BATCH_SIZE = 2_000_000
# Limit of simultaneous pushes to the spool. To open a connection takes longer than many pushes: in a burst
# with one connection for each upload, pushes would time out.
MAX_PUSHES = 4
# No upload has this uuid. A statement that would lock a row with this uuid tests whether the table can be
# written: a standby refuses the statement.
NIL = UUID(int=0)
_PROBE = text("SELECT FROM uploads WHERE client_session_uuid = :id FOR KEY SHARE")

# Seconds between two probes of a store that is away: until a probe succeeds, no request asks the store.
PROBE_S = 0.5

T = TypeVar("T")


class Breaker:
    """Let all requests ask a store that answers; after a failure, let one request ask every `pause` seconds.

    If no request has come for two pauses, the breaker closes. With an infinite pause, the breaker stays open
    until `close` is called. `name`: the label of the metric.
    """

    def __init__(self, pause: float, name: str) -> None:
        self._open = metrics.BREAKER_OPEN.labels(name)
        self._open.set(0)
        self._pause = pause
        self._retry_at: float | None = None
        self._lock = threading.RLock()

    def allows(self) -> bool:
        """Return whether the caller may ask the store; if so, the caller then calls `close` or `trip`."""
        with self._lock:
            self._expire()
            now = time.monotonic()
            if self._retry_at is not None and now < self._retry_at:
                return False
            if self._retry_at is not None:
                self._retry_at = now + self._pause
            return True

    def close(self) -> None:
        """Note that the store answered."""
        if self._retry_at is None:  # without the lock: each request comes here
            return
        with self._lock:
            self._open.set(0)
            self._retry_at = None

    def trip(self) -> bool:
        """Note that the store is unreachable; return whether the breaker was closed before."""
        with self._lock:
            is_new = self._retry_at is None
            self._open.set(1)
            self._retry_at = time.monotonic() + self._pause
        if math.isfinite(self._pause):
            # If nobody asks the store any more, the metric must not show an open breaker for ever.
            timer = threading.Timer(2 * self._pause + LATE_S, self._expire)
            timer.daemon = True
            timer.start()
        return is_new

    def _expire(self) -> None:
        with self._lock:
            if self._retry_at is not None and time.monotonic() > self._retry_at + self._pause:
                self.close()


class Store:
    """Use Postgres within a deadline, on a few separate threads.

    Neither a statement timeout nor a TCP timeout ends the wait for a server that is stopped (SIGSTOP); the
    deadline does. A stopped Postgres blocks these threads, but delays no request beyond the deadline. While
    the breaker is open, a thread probes the store, and requests are refused at once. `name`: the store's name
    in metrics and logs.
    """

    def __init__(self, engine: Engine, name: str, *, deadline: float, threads: int) -> None:
        self._engine = engine
        # psycopg warns of open connections that are garbage collected.
        weakref.finalize(self, engine.dispose)
        self._name = name
        self._breaker = Breaker(math.inf, name)
        self.deadline = deadline
        self._answered_at = -math.inf
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store")

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run a function in a transaction, which is committed if nothing is raised.

        Raise StoreUnavailableError if Postgres is away (or was a moment ago), refuses a statement, or does
        not answer before the deadline. After the deadline or a lost connection, the work may be committed
        nevertheless.
        """

        def on_a_thread() -> T:
            future = self._threads.submit(self._transaction, work)
            try:
                return future.result(self.deadline)
            except TimeoutError:
                future.cancel()
                raise

        return self.guard(on_a_thread)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        # Reads are committed, too: after a rollback psycopg prepares its statements again.
        with self._engine.begin() as connection:
            return work(connection)

    def guard(self, work: Callable[[], T]) -> T:
        """Run `work` unless the breaker is open; raise StoreUnavailableError as `run` does.

        The caller's `work` must end with TimeoutError at the store's deadline. The breaker opens if the store
        is away, or answers no request within the deadline.
        """
        if not self._breaker.allows():
            raise StoreUnavailableError("the store was unreachable a moment ago")
        begun_at = time.monotonic()
        try:
            result = work()
        except TimeoutError:
            was_slow = time.monotonic() > begun_at + self.deadline + LATE_S
            # If the store has answered other requests meanwhile, this one only waited for one of the threads.
            if not was_slow and self._answered_at < begun_at:
                self._trip()
            log.warning("store.timed_out", store=self._name, web_process_was_slow=was_slow)
            raise StoreUnavailableError("the store did not answer in time") from None
        except SQLAlchemyError as error:
            if failures.is_away(error):
                self._trip()
            else:  # a row is locked, or the statement took too long
                self._note_answer()
            described = failures.describe(error)
            log.warning("store.call_failed", store=self._name, error=described)
            raise StoreUnavailableError("the store is away, or refused the statement") from None
        except StudyIngestError:
            self._note_answer()
            raise
        self._note_answer()
        return result

    def _note_answer(self) -> None:
        self._answered_at = time.monotonic()
        self._breaker.close()

    def check(self) -> None:
        """Raise StoreUnavailableError unless uploads could be written."""
        self.run(_send_probe)

    def _trip(self) -> None:
        if self._breaker.trip():
            threading.Thread(target=self._probe, name="probe", daemon=True).start()

    def _probe(self) -> None:
        while not self._breaker.allows():
            time.sleep(PROBE_S)
            try:
                self._transaction(_send_probe)
            except NoConnectionError:  # all connections still wait for an answer
                continue
            except DBAPIError as error:
                if failures.is_away(error):
                    continue
            self._breaker.close()


def _send_probe(connection: Connection) -> None:
    db.execute(connection, _PROBE, {"id": NIL})


class _Waiting(NamedTuple):
    """An upload that waits for the writer; at the time `until`, its request gives up.

    A Future in place of `answer` would take three times the CPU.
    """

    delivery: uploads.Delivery
    until: float
    answer: queue.SimpleQueue[uploads.Receipt | Exception]


class UploadStore:
    """Record uploads durably: in Postgres, or in the spool while Postgres is away.

    One thread writes. Uploads that wait for it are committed together, and a stopped Postgres blocks only
    that thread. `store` gives the deadline and the breaker; its engine is used only to probe. `autocommit` is
    the engine with which the thread writes: each statement commits by itself, in one round trip instead of
    three. `spool_breaker`: the breaker of the spool.
    """

    def __init__(
        self,
        store: Store,
        autocommit: Engine,
        *,
        first_try_after: float,
        spool: Redis | None,
        spool_breaker: Breaker,
    ) -> None:
        self._store = store
        self._autocommit = autocommit
        self._first_try_after = first_try_after
        self.spool = spool
        self._spool_breaker = spool_breaker
        self._pushes = threading.BoundedSemaphore(MAX_PUSHES)
        self._waiting: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        threading.Thread(target=self._write_batches, name="uploads", daemon=True).start()

    def record(self, delivery: uploads.Delivery) -> uploads.Receipt:
        """Return the receipt of a delivery once the delivery is durable, in Postgres or in the spool.

        Raise StoreUnavailableError if neither Postgres nor the spool accepts the delivery in time, and
        UnstorableError if the delivery has a value that cannot be stored.
        """
        try:
            return self._store.guard(lambda: self._write_with_others(delivery))
        except StoreUnavailableError:
            self._push(delivery)
            log.info("upload.spooled", upload=str(delivery.client_session_uuid))
            return uploads.Receipt(uploads.Verdict.PENDING)

    def check(self) -> None:
        """Raise StoreUnavailableError if Postgres would accept no upload, and no spool answers."""
        try:
            self._store.check()
        except StoreUnavailableError:
            if self.spool is None or not answers(self.spool):
                raise

    def _write_with_others(self, delivery: uploads.Delivery) -> uploads.Receipt:
        deadline = self._store.deadline
        waiting = _Waiting(delivery, time.monotonic() + deadline, queue.SimpleQueue())
        self._waiting.put(waiting)
        try:
            answer = waiting.answer.get(timeout=deadline)
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            raise answer
        if answer.verdict is uploads.Verdict.LOCKED:
            raise StoreUnavailableError("the upload is locked")
        return answer

    def _write_batches(self) -> None:
        while True:
            batch = [self._waiting.get()]
            size = len(batch[0].delivery.payload)
            while len(batch) < MAX_BATCH and size < MAX_BATCH_SIZE and not self._waiting.empty():
                batch.append(self._waiting.get())
                size += len(batch[-1].delivery.payload)
            now = time.monotonic()
            if wanted := [each for each in batch if now < each.until]:
                self._write(wanted)

    def _write(self, batch: list[_Waiting]) -> None:
        """Commit a batch; if a value cannot be stored or a row is locked, commit each upload alone."""
        try:
            receipts = self._receive([each.delivery for each in batch])
        except Exception as error:  # noqa: BLE001  # the waiting requests raise it
            locked = isinstance(error, DBAPIError) and isinstance(error.orig, LockNotAvailable)
            if len(batch) > 1 and (locked or isinstance(error, DataError)):
                for each in batch:
                    self._write([each])
                return
            if isinstance(error, DataError):
                upload = str(batch[0].delivery.client_session_uuid)
                log.warning("upload.unstorable", upload=upload, error=failures.describe(error))
                error = UnstorableError("the upload holds a value that cannot be stored")
            for each in batch:
                each.answer.put(error)
        else:
            for each, receipt in zip(batch, receipts, strict=True):
                each.answer.put(receipt)

    def _receive(self, deliveries: list[uploads.Delivery], *, again: bool = False) -> list[uploads.Receipt]:
        try:
            with self._autocommit.begin() as connection:
                return uploads.receive(connection, deliveries, first_try_after=self._first_try_after)
        except DBAPIError as error:
            # The connection may be older than a restart of Postgres. To test the connection first would cost
            # every upload a round trip.
            if again or not error.connection_invalidated:
                raise
        return self._receive(deliveries, again=True)

    def _push(self, delivery: uploads.Delivery) -> None:
        with self._pushes:
            if self.spool is None or not self._spool_breaker.allows():
                raise StoreUnavailableError("neither Postgres nor a spool accepts the upload")
            try:
                push(self.spool, delivery)
            except StoreUnavailableError:
                self._spool_breaker.trip()
                raise
            self._spool_breaker.close()
