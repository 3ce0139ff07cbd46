"""Send uploads to a study-ingest server as a viewer does, with retries; return the answer to each upload."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, Self

import click
import httpx

from cli import remote
from cli.local.places import data_dir_option, read_env_as_owner
from shared.errors import StudyIngestError
from study_outbox import is_away, pause_after, retry_after

PATH = "/ingest/study/attempts"
# For this many seconds a request is repeated: enough for a server that restarts. Until a server has answered
# once, this limit applies even if the sender has a longer one.
PATIENCE_S = 8.0
# The limit of `upload` after the first answer, in seconds: enough for a store that restarts or fails over.
UPLOAD_PATIENCE_S = 300.0
POLL_S = 0.1
TIMEOUT_S = 30.0


class Answer(StrEnum):
    """What became of one upload."""

    RECEIVED = "received"
    INGESTED = "ingested"
    ALREADY_INGESTED = "already ingested"
    REJECTED = "rejected"
    FAILED = "failed"


FINAL = {"ingested": Answer.INGESTED, "rejected": Answer.REJECTED, "dead": Answer.FAILED}
# After a 202, these codes mean that the upload is still in the spool: Postgres is away or has just come back.
NOT_YET = frozenset({httpx.codes.NOT_FOUND, httpx.codes.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to one upload; `why`: the reason, if the upload was rejected or failed."""

    answer: Answer
    why: str = ""


class UnreachableServerError(StudyIngestError):
    """The server refused the request, or did not answer before the client gave up."""


class Sender:
    """One pool of connections to one server; threads may share it.

    `patience`: seconds for which a request is repeated while the server is away, with the pauses of a
    viewer's outbox; PATIENCE_S applies instead until the server has answered once.
    """

    def __init__(self, url: str, token: str, *, patience: float = PATIENCE_S) -> None:
        self.http = remote.connect(url, token, timeout=TIMEOUT_S)
        self._patience = patience
        self._has_answered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def send(self, upload: str) -> Sent:
        """Send one upload, given as JSON text."""
        response = self._request("POST", PATH, content=upload.encode())
        body = _body(response)
        if body and response.status_code == httpx.codes.ACCEPTED:
            return Sent(Answer.RECEIVED)
        if body and response.status_code == httpx.codes.OK:
            return Sent(Answer.ALREADY_INGESTED)
        if reason := body.get("reason"):
            return Sent(Answer.REJECTED, reason)
        return Sent(Answer.FAILED, _problem(response))

    def wait(self, upload: str, deadline: float) -> Sent:
        """Wait until an upload is final, or until `deadline` on the monotonic clock."""
        try:
            uuid = json.loads(upload)["client_session_uuid"]
        except (ValueError, TypeError, KeyError):  # our server would not have accepted such an upload
            return Sent(Answer.FAILED, "the answer is not from study-ingest")
        while time.monotonic() < deadline:
            response = self._request("GET", f"{PATH}/{uuid}")
            body = _body(response)
            status = str(body.get("status"))
            if answer := FINAL.get(status):
                return Sent(answer, body.get("reason") or ("" if answer is Answer.INGESTED else status))
            if not response.is_success and response.status_code not in NOT_YET:
                return Sent(Answer.FAILED, _problem(response))
            time.sleep(POLL_S)
        return Sent(Answer.FAILED, "no final status in time")

    def status(self, uuid: str) -> dict[str, Any]:
        """Return the server's answer about an upload.

        Raises UnreachableServerError if the server answers with an error, or not at all.
        """
        response = self._request("GET", f"{PATH}/{uuid}")
        if not response.is_success:
            raise UnreachableServerError(f"{self.http.base_url} answers: {_problem(response)}")
        return _body(response)

    def _request(self, method: str, path: str, *, content: bytes | None = None) -> httpx.Response:
        """Send a request, and repeat it while the server is away; return the last answer.

        Before each repetition, it waits at least as long as Retry-After asks for, but not longer than until
        `patience` seconds after the first request: then it sends the last request. Raises
        UnreachableServerError if there was no answer to the last request.
        """
        start = time.monotonic()
        for failed in count():
            answer: httpx.Response | httpx.TransportError
            wait = 0.0
            try:
                answer = self.http.request(method, path, content=content)
            except httpx.TransportError as error:
                answer = error
            else:
                self._has_answered = True
                if not is_away(answer.status_code):
                    break
                wait = retry_after(answer.headers.get("Retry-After"))
            patience = self._patience if self._has_answered else PATIENCE_S
            remaining = start + patience - time.monotonic()
            if remaining <= 0:
                break
            time.sleep(min(remaining, max(wait, pause_after(failed))))
        if isinstance(answer, httpx.TransportError):
            raise UnreachableServerError(f"{self.http.base_url} does not answer: {type(answer).__name__}")
        return answer


def with_sender(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a command a `sender` for the server in the options, else for the server of a running `up`."""

    @click.option(
        "--url", envvar="API_URL", help="The server; by default API_URL, else the server of a running `up`."
    )
    @click.option(
        "--token",
        envvar="VIEWER_SYNC_TOKEN",
        help="The sender's token; by default VIEWER_SYNC_TOKEN, else the token of a running `up`.",
    )
    @data_dir_option
    @wraps(command)
    def run(*args: Any, url: str | None, token: str | None, data_dir: Path, **options: Any) -> Any:
        running = {} if url and token else read_env_as_owner(data_dir)
        url = url or running["API_URL"]
        token = remote.first_token(token or running["VIEWER_SYNC_TOKEN"])
        with Sender(url, token, patience=UPLOAD_PATIENCE_S) as sender:
            return command(*args, sender=sender, **options)

    return run


def _body(response: httpx.Response) -> dict[str, Any]:
    """Return an answer's JSON object, or an empty one if the answer is something else, such as a proxy's."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _problem(response: httpx.Response) -> str:
    problem = _body(response)
    match problem.get("errors"):
        case [{"pointer": pointer, "detail": detail}, *_]:
            first = f": {pointer} {detail}"
        case _:
            first = ""
    return f"{response.status_code} {problem.get('title') or response.reason_phrase}{first}"
