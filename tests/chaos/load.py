"""The load: viewers who send each session until it is accepted, and count what was."""

import math
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import httpx

from cli.client import PATH
from tests import factories
from tests.chaos.system import LEARNERS

SENDERS = 4
# Two processors can do this, faults included.
UPLOADS_A_SECOND = 8.0
# So that a learner's replays meet.
IN_A_ROW = 10
AGAIN = 0.1
PAUSE_S = 0.2
TIMEOUT_S = 5.0
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """An upload that was answered 202 or 200, first at `at`, `took` seconds after it was first sent."""

    upload: dict[str, Any]
    at: float
    took: float


class RefusedError(Exception):
    """A valid upload is not accepted."""


class Load:
    """Send made uploads for the length of a `with`, and then until all of them are accepted."""

    def __init__(self, url: str, seed: int) -> None:
        self.accepted: dict[str, Accepted] = {}
        self._rng = random.Random(seed)
        self._made: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._next_at = 0.0
        self._give_up_at = math.inf
        headers = {"Authorization": "Bearer viewer-token-of-tests"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="viewer")
        self._senders: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._senders = [self._pool.submit(self._send_on) for _ in range(SENDERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._give_up_at = time.monotonic() + PATIENCE_S
        self._pool.shutdown()
        self._http.close()
        for sender in self._senders:
            sender.result()

    def _send_on(self) -> None:
        while not self._over.is_set():
            time.sleep(max(0.0, self._slot() - time.monotonic()))
            self._send(self._choose())

    def _slot(self) -> float:
        """Take the next time to send; sends missed in an outage are not made up for."""
        with self._lock:
            self._next_at = max(self._next_at + 1 / UPLOADS_A_SECOND, time.monotonic())
            return self._next_at

    def _choose(self) -> dict[str, Any]:
        """Make an upload, or repeat one: the last, which may be on its way, or an older one."""
        with self._lock:
            if self._made and self._rng.random() < AGAIN:
                return self._rng.choice([self._made[-1], self._rng.choice(self._made)])
            learner = 1 + len(self._made) // IN_A_ROW % LEARNERS
            self._made.append(factories.random_upload(self._rng, learner))
            return self._made[-1]

    def _send(self, upload: dict[str, Any]) -> None:
        start = time.monotonic()
        while not self._is_accepted(upload):
            if time.monotonic() > self._give_up_at:
                raise RefusedError("the faults are over, and still nothing is accepted")
            time.sleep(PAUSE_S)
        now = time.monotonic()
        self.accepted.setdefault(upload["client_session_uuid"], Accepted(upload, now, now - start))

    def _is_accepted(self, upload: dict[str, Any]) -> bool:
        try:
            status = self._http.post(PATH, json=upload).status_code
        except httpx.TransportError:
            return False
        if httpx.codes.is_client_error(status):
            raise RefusedError(f"a valid upload was answered {status}")
        return httpx.codes.is_success(status)
