"""A document server that follows `/study/changes` through every fault, and keeps a copy of all progress."""

import threading
import time
from collections.abc import Mapping
from typing import Any, Self

import httpx
from sqlalchemy import Engine

from tests.reader import Reader

WAIT_S = 1
PAUSE_S = 0.2
TIMEOUT_S = 10.0


class Follower:
    """Follow for the length of a `with`."""

    def __init__(self, url: str) -> None:
        headers = {"Authorization": "Bearer study-token-of-tests"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)
        self._reader = Reader(self._read)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._http.close()

    def differences(self, engine: Engine) -> int:
        """Stop, read what is left, and count the questions of which the copy is wrong; the system is idle."""
        self._over.set()
        self._thread.join()
        self._reader.catch_up()
        return self._reader.differences(engine)

    def _follow(self) -> None:
        while not self._over.is_set():
            self._reader.poll()

    def _read(self, cursor: str) -> Mapping[str, Any]:
        """Return an answer, asking for as long as it takes; begin again where the cursor is unknown."""
        while True:
            try:
                query = {"after": cursor, "wait": 0 if self._over.is_set() else WAIT_S}
                response = self._http.get("/study/changes", params=query)
            except httpx.TransportError:
                time.sleep(PAUSE_S)
                continue
            if response.status_code == httpx.codes.GONE:
                self._reader.start_again()
                cursor = ""
            elif httpx.codes.is_server_error(response.status_code):
                time.sleep(PAUSE_S)
            else:
                answer: Mapping[str, Any] = response.raise_for_status().json()
                return answer
