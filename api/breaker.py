"""Spare requests the wait for a store that has just failed."""

import threading
import time

from shared.metrics import BREAKER_OPEN


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
