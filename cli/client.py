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
    """The server did not answer as it should, however often it was asked."""


_FINAL = {"ingested": Answer.INGESTED, "rejected": Answer.REJECTED, "dead": Answer.FAILED}
# After a 202: the upload is in the spool, as Postgres is away, or back for a moment only.
_NOT_YET = frozenset({httpx.codes.NOT_FOUND, httpx.codes.SERVICE_UNAVAILABLE})


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
        said = _said(response)
        if said and response.status_code == httpx.codes.ACCEPTED:
            return Sent(Answer.RECEIVED)
        if said and response.status_code == httpx.codes.OK:
            return Sent(Answer.ALREADY_INGESTED)
        if reason := said.get("reason"):
            return Sent(Answer.REJECTED, reason)
        return Sent(Answer.FAILED, _refusal(response))

    def wait(self, upload: str, deadline: float) -> Sent:
        """Wait until an upload is final, or until `deadline` on the monotonic clock."""
        uuid = json.loads(upload)["client_session_uuid"]
        while time.monotonic() < deadline:
            response = self._ask("GET", f"{PATH}/{uuid}")
            standing = _said(response)
            if answer := _FINAL.get(standing.get("status", "")):
                return Sent(answer, standing.get("reason") or "")
            if not response.is_success and response.status_code not in _NOT_YET:
                return Sent(Answer.FAILED, _refusal(response))
            time.sleep(POLL_S)
        return Sent(Answer.FAILED, "not final in time")

    def standing(self, uuid: str) -> dict[str, Any]:
        """Ask where an upload stands; raise UnreachableServerError where the server does not tell."""
        response = self._ask("GET", f"{PATH}/{uuid}")
        if not response.is_success:
            raise UnreachableServerError(f"{self.http.base_url} does not tell: {_refusal(response)}")
        return _said(response)

    def _ask(self, method: str, path: str, *, content: bytes | None = None) -> httpx.Response:
        """Ask until the server answers with other than 'try again later', or for the last time."""
        for attempt in range(TRIES):
            time.sleep(PAUSE_S * attempt)
            answer = self._ask_once(method, path, content)
            if isinstance(answer, httpx.Response) and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
        if isinstance(answer, httpx.TransportError):
            raise UnreachableServerError(f"{self.http.base_url} cannot be reached: {type(answer).__name__}")
        return answer

    def _ask_once(
        self, method: str, path: str, content: bytes | None
    ) -> httpx.Response | httpx.TransportError:
        try:
            return self.http.request(method, path, content=content)
        except httpx.TransportError as error:
            return error


def _said(response: httpx.Response) -> dict[str, Any]:
    """Read an answer's JSON object; nothing where a proxy answers instead of the server."""
    try:
        said = response.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _refusal(response: httpx.Response) -> str:
    problem = _said(response)
    title = problem.get("title") or response.reason_phrase
    return f"{response.status_code} {title}{_first_fault(problem)}"


def _first_fault(problem: dict[str, Any]) -> str:
    faults = problem.get("errors") or []
    return f": {faults[0]['pointer']} {faults[0]['detail']}" if faults else ""
