"""Ring for new uploads off the request's thread: a slow or absent broker delays nobody."""

import queue
import threading
import time
from contextlib import suppress
from uuid import UUID

import structlog
from celery import Celery

from shared.broker import RING_SIZE, depth, ring
from shared.failures import describe
from shared.metrics import RING_FAILURES

log = structlog.get_logger()

# What does not fit is rung for by the sweeper.
MAX_WAITING = 1000
# Nobody notices it, and under load one ring then serves several uploads.
GATHER_S = 0.02
DEPTH_EVERY_S = 1.0


class Doorbell:
    """Publish the ids of new uploads, best effort.

    `pause`: seconds of silence after a failure. `high_water`: rings waiting in the broker above which nobody
    rings; requests already stop at half of it, and leave the rest to the sweeper.
    """

    def __init__(self, app: Celery, *, pause: float, high_water: int) -> None:
        self._app = app
        self._pause = pause
        self._mark = high_water // 2
        self._silent_until = 0.0
        self._look_at = 0.0
        self._waiting: queue.Queue[UUID] = queue.Queue(MAX_WAITING)
        threading.Thread(target=self._ring_for_ever, name="doorbell", daemon=True).start()

    def ring(self, client_session_uuid: UUID) -> None:
        """Ask for a worker to look at an upload; return at once, and never fail."""
        if time.monotonic() >= self._silent_until:
            with suppress(queue.Full):
                self._waiting.put_nowait(client_session_uuid)

    def _ring_for_ever(self) -> None:
        while True:
            uploads = self._gather()
            if time.monotonic() < self._silent_until:
                continue
            try:
                with RING_FAILURES.count_exceptions():
                    self._ring(uploads)
            except Exception as error:  # noqa: BLE001  # any failure to ring is the sweeper's
                self._silent_until = time.monotonic() + self._pause
                log.warning("ring.failed", uploads=[str(upload) for upload in uploads], error=describe(error))

    def _gather(self) -> list[UUID]:
        uploads = [self._waiting.get()]
        time.sleep(GATHER_S)
        with suppress(queue.Empty):
            while len(uploads) < RING_SIZE:
                uploads.append(self._waiting.get_nowait())
        return uploads

    def _ring(self, uploads: list[UUID]) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + DEPTH_EVERY_S
            if depth(self._app) >= self._mark:
                self._silent_until = self._look_at
                return
        with self._app.producer_pool.acquire(block=True) as producer:
            ring(producer, self._app, uploads)
