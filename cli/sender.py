"""Send uploads to a study-ingest server: as a viewer does, but patiently, and telling of the answer."""

import json
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import httpx

from shared.errors import StudyIngestError

PATH = "/ingest/study/attempts"
# A server that restarts is back within seconds.
TRIES = 6
PAUSE_S = 0.5
POLL_S = 0.1
TIMEOUT_S = 30.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Answer(StrEnum):
    """Name what became of one upload."""

    RECEIVED = "received"
    INGESTED = "ingested"
    ALREADY_INGESTED = "already ingested"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to one upload, and why it was not taken."""

    answer: Answer
    why: str = ""


class UnreachableServerError(StudyIngestError):
    """The server did not answer, or could store nothing, however often it was asked."""


_FINAL = {"ingested": Answer.INGESTED, "rejected": Answer.REJECTED, "dead": Answer.FAILED}


class Sender:
    """One pool of connections to one server; threads may share it."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        base = httpx.URL(url.rstrip("/"))
        # A proxy of the environment leads away from this machine.
        self.http = httpx.Client(
            base_url=base, headers=headers, timeout=TIMEOUT_S, trust_env=base.host not in LOOPBACK
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def send(self, upload: str) -> Sent:
        """Send one upload, given as JSON text."""
        response = self._ask("POST", PATH, content=upload.encode())
        if response.status_code == httpx.codes.ACCEPTED:
            return Sent(Answer.RECEIVED)
        if response.status_code == httpx.codes.OK:
            return Sent(Answer.ALREADY_INGESTED)
        problem = response.json()
        if reason := problem.get("reason"):
            return Sent(Answer.REJECTED, reason)
        return Sent(Answer.FAILED, f"{response.status_code} {problem['title']}{_first_fault(problem)}")

    def wait(self, upload: str, deadline: float) -> Sent:
        """Wait until an upload is final, or until `deadline` on the monotonic clock."""
        uuid = json.loads(upload)["client_session_uuid"]
        while time.monotonic() < deadline:
            standing = self.standing(uuid)
            if answer := _FINAL.get(standing["status"]):
                return Sent(answer, standing.get("reason") or "")
            time.sleep(POLL_S)
        return Sent(Answer.FAILED, "not final in time")

    def standing(self, uuid: str) -> dict[str, Any]:
        """Ask where an upload stands."""
        standing: dict[str, Any] = self._ask("GET", f"{PATH}/{uuid}").raise_for_status().json()
        return standing

    def _ask(self, method: str, path: str, *, content: bytes | None = None) -> httpx.Response:
        """Ask until the server answers with other than 'try again later'."""
        why = ""
        for attempt in range(TRIES):
            time.sleep(PAUSE_S * attempt)
            try:
                response = self.http.request(method, path, content=content)
            except httpx.TransportError as error:
                why = type(error).__name__
                continue
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            why = "503 Service Unavailable"
        raise UnreachableServerError(f"{self.http.base_url} cannot be reached: {why}")


def _first_fault(problem: dict[str, Any]) -> str:
    faults = problem.get("errors") or []
    return f": {faults[0]['pointer']} {faults[0]['detail']}" if faults else ""
