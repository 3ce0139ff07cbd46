"""Enqueue new uploads on a separate thread: a slow or absent broker delays no request."""

import queue
import threading
import time
from contextlib import suppress
from uuid import UUID

import structlog
from celery import Celery

from shared.broker import MESSAGE_SIZE, enqueue, queue_length
from shared.failures import describe
from shared.metrics import ENQUEUE_FAILURES

log = structlog.get_logger()

# The sweeper enqueues what does not fit.
MAX_WAITING = 1000
# Seconds to wait for more uploads: too short for a learner to notice. Under load, uploads share a message.
GATHER_S = 0.02
LENGTH_EVERY_S = 1.0


class Publisher:
    """Enqueue new uploads on a thread; the sweeper enqueues the uploads that this thread loses.

    `pause`: seconds without enqueuing after a failure. `queue_limit`: limit of messages in the broker; this
    thread stops at half of the limit, to leave room for the sweeper's messages.
    """

    def __init__(self, app: Celery, *, pause: float, queue_limit: int) -> None:
        self._app = app
        self._pause = pause
        self._max_length = queue_limit // 2
        self._silent_until = 0.0
        self._length_at = 0.0
        self._waiting: queue.Queue[UUID] = queue.Queue(MAX_WAITING)
        threading.Thread(target=self._publish_forever, name="publisher", daemon=True).start()

    def enqueue(self, client_session_uuid: UUID) -> None:
        """Hand an upload to the thread that enqueues, or leave it to the sweeper; never wait or raise."""
        if time.monotonic() >= self._silent_until:
            with suppress(queue.Full):
                self._waiting.put_nowait(client_session_uuid)

    def _publish_forever(self) -> None:
        while True:
            uploads = [self._waiting.get()]
            if self._waiting.qsize() < MESSAGE_SIZE - 1:
                time.sleep(GATHER_S)
            with suppress(queue.Empty):
                while len(uploads) < MESSAGE_SIZE:
                    uploads.append(self._waiting.get_nowait())
            if time.monotonic() < self._silent_until:
                continue
            try:
                with ENQUEUE_FAILURES.count_exceptions():
                    self._publish(uploads)
            except Exception as error:  # noqa: BLE001  # after any failure, the sweeper enqueues
                self._silent_until = time.monotonic() + self._pause
                log.warning(
                    "enqueue.failed", uploads=[str(upload) for upload in uploads], error=describe(error)
                )

    def _publish(self, uploads: list[UUID]) -> None:
        now = time.monotonic()
        if now >= self._length_at:
            self._length_at = now + LENGTH_EVERY_S
            if queue_length(self._app) >= self._max_length:
                self._silent_until = self._length_at
                return
        with self._app.producer_pool.acquire(block=True) as producer:
            enqueue(producer, self._app, uploads)
