"""Errors: outside of `/ops`, every error is answered as `application/problem+json` (RFC 9457)."""

import json
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any, NoReturn

import structlog
from flask import Flask, Response, g, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from shared import errors
from shared.failures import describe
from shared.metrics import REFUSALS
from shared.payload import MAX_FAULTS, InvalidPayloadError, NotJsonError


class Kind(Enum):
    """A kind of problem: its HTTP status, its title, and what the sender should do."""

    NOT_JSON = 400, "The body cannot be read as JSON", "Fix the body before sending it again."
    UNAUTHENTICATED = (
        401,
        "The bearer token is missing or not accepted",
        "Send a valid token for this route; get a new one if yours has expired.",
    )
    NOT_FOUND = 404, "There is nothing at this address", "See /docs for the addresses that exist."
    UNKNOWN_UPLOAD = (
        404,
        "No upload has this id",
        "Check the id, or send the upload; if you sent it and the answer was 202, ask again later.",
    )
    UNKNOWN_LEARNER = 404, "There is no such learner", "Check the learner's id."
    UNKNOWN_TOPIC = 404, "The learner has no such topic", "Check the topic's id and its learner."
    UNKNOWN_SESSION = 404, "The learner has no such quiz session", "Check the session's id and its learner."
    METHOD_NOT_ALLOWED = 405, "The method is not allowed here", "Use a method that the header `Allow` names."
    CONFLICTING_UPLOAD = 409, "An upload with other content has this id", "Give a new session a new id."
    SESSION_CLOSED = (
        409,
        "The quiz session is closed, or superseded",
        "Read the session again, or start a new session.",
    )
    ALREADY_ANSWERED = (
        409,
        "The question already has a different answer",
        "Read the session again; an answer cannot be changed.",
    )
    HOST_CATALOG = (
        409,
        "The catalog is the document server's, and cannot be changed here",
        "Change the document server's tables: the catalog here consists of views on them.",
    )
    UNKNOWN_CURSOR = (
        410,
        "The cursor `after` is from another database, or from before a restore or fail-over",
        "Delete your copy of the progress, and read everything again, without `after`.",
    )
    TOPIC_CHANGED = (
        412,
        "`If-Match` does not have exactly the topics' present digests",
        "Read the topics' digests again, and compute the change again.",
    )
    BODY_TOO_LARGE = 413, "The body is too large", "Split the session or the catalog, or omit fields."
    UNSUPPORTED_MEDIA_TYPE = (
        415,
        "The body must be plain application/json",
        "Set Content-Type to application/json, and do not compress the body.",
    )
    INVALID_PAYLOAD = 422, "The payload is not a valid upload", "Fix what `errors` points at."
    INVALID_REQUEST = 422, "The request is not valid", "Fix what `errors` points at."
    NOTHING_TO_ASK = (
        422,
        "No question of the topic matches",
        "Change `subject_filter`, `wrong_only`, `quiz_mode` or `new_per_session`, or choose another topic.",
    )
    REJECTED_UPLOAD = (
        422,
        "The upload was rejected",
        "See `reason`; sending the same content again does not help.",
    )
    TOO_MANY_REQUESTS = (
        429,
        "The learner sends too many requests",
        "Wait as many seconds as `Retry-After` says.",
    )
    INVALID_CATALOG = (
        422,
        "The catalog is not valid",
        "Fix what `errors` points at, and send the catalog again.",
    )
    INTERNAL_ERROR = (
        500,
        "The server failed",
        "Try again later; if this happens again, contact the operator.",
    )
    INGEST_CLOSED = 503, "Uploads are not accepted now", "Keep the upload, and try again later."
    LIVE_CLOSED = 503, "The live side is not enabled", "The operator has to set STUDY_API_TOKEN."
    CATALOG_CLOSED = 503, "The catalog is not served here", "The operator has to set CATALOG_TOKEN."
    STORE_UNAVAILABLE = (
        503,
        "The database cannot serve this request now",
        "Keep what you sent, and try again later.",
    )

    def __init__(self, status: int, title: str, advice: str) -> None:
        self.status = status
        self.title = title
        self.advice = advice

    @property
    def slug(self) -> str:
        """Return the kind's name as it is written in URLs."""
        return self.name.lower().replace("_", "-")

    @property
    def type(self) -> str:
        """Return the stable `type`: the path at which the problem is explained."""
        return f"/problems/{self.slug}"

    def body(self, **members: Any) -> dict[str, Any]:
        """Compose the body of a problem of this kind."""
        return {"type": self.type, "title": self.title, "status": self.status} | members


for _kind in Kind:  # Prometheus misses the first increment of a counter that did not exist before
    REFUSALS.labels(_kind.slug)

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
# Long enough for a restart or a fail-over, and short for a learner who waits for the result.
RETRY_AFTER_S = 30

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(RETRY_AFTER_S)}}
_OF_STATUS = {
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    413: Kind.BODY_TOO_LARGE,
    500: Kind.INTERNAL_ERROR,
}
_OF_ERROR: dict[type[Exception], Kind] = {
    errors.StoreUnavailableError: Kind.STORE_UNAVAILABLE,
    errors.OvertakenError: Kind.STORE_UNAVAILABLE,
    errors.UnstorableError: Kind.INVALID_PAYLOAD,
    errors.UnknownLearnerError: Kind.UNKNOWN_LEARNER,
    errors.UnknownTopicError: Kind.UNKNOWN_TOPIC,
    errors.UnknownSessionError: Kind.UNKNOWN_SESSION,
    errors.SessionClosedError: Kind.SESSION_CLOSED,
    errors.SupersededError: Kind.SESSION_CLOSED,
    errors.AlreadyAnsweredError: Kind.ALREADY_ANSWERED,
    errors.NothingToAskError: Kind.NOTHING_TO_ASK,
    errors.HostCatalogError: Kind.HOST_CATALOG,
    errors.UnknownCursorError: Kind.UNKNOWN_CURSOR,
    errors.ChangedTopicError: Kind.TOPIC_CHANGED,
    errors.NotAskedError: Kind.INVALID_REQUEST,
    errors.NoSuchChoiceError: Kind.INVALID_REQUEST,
}
# For each error that only the database can find: a JSON pointer to the wrong field, or an empty text, which
# points at the whole body.
_POINTERS: dict[type[Exception], str] = {
    errors.UnstorableError: "",
    errors.ChangedTopicError: "",
    errors.NothingToAskError: "",
    errors.NotAskedError: "/pub_id",
    errors.NoSuchChoiceError: "/selected",
}


class Problem(Exception):  # noqa: N818  # RFC 9457's own word
    """An error that refuses a request; its answer gets `headers`, and the answer's body gets `members`."""

    def __init__(self, kind: Kind, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(kind.title)
        self.body = kind.body(**members)
        self.headers = headers or {}


def refuse_invalid(error: ValidationError) -> NoReturn:
    """Refuse a request whose query or body does not match its model; quote nothing of the request."""
    faults = []
    for each in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_FAULTS]:
        # The name of an unknown field is left out: it is the client's own content.
        place = each["loc"][:-1] if each["type"] == "extra_forbidden" else each["loc"]
        faults.append({"pointer": "".join(f"/{step}" for step in place), "detail": each["msg"]})
    raise Problem(Kind.INVALID_REQUEST, errors=faults) from None


def body_of_status(status: int) -> dict[str, Any]:
    """Compose a problem's body from the HTTP status alone."""
    if kind := _OF_STATUS.get(status):
        return kind.body()
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}


def install_problems(app: Flask) -> None:
    """Answer every error of an application with a problem."""
    app.register_error_handler(Exception, _answer)


def note_refusal(
    body: dict[str, Any], *, address: str | None, endpoint: str | None = None, upload: str | None = None
) -> None:
    """Log and count a problem: its type and the JSON pointers of its faults, never the faulty values."""
    REFUSALS.labels(body["type"].rpartition("/")[2]).inc()
    log.info(
        "request.refused",
        problem=body["type"],
        pointers=[fault["pointer"] for fault in body.get("errors", [])],
        upload=upload,
        endpoint=endpoint,
        address=address,
    )


def _answer(error: Exception) -> Response:
    body = _body(error)
    asked = (request.view_args or {}).get("client_session_uuid")
    uuid = g.get("upload") or getattr(error, "upload", None) or asked
    note_refusal(
        body, address=request.remote_addr, endpoint=request.endpoint, upload=str(uuid) if uuid else None
    )
    response = Response(json.dumps(body), body["status"], mimetype=MEDIA_TYPE)
    if isinstance(error, HTTPException):  # its own headers, such as Allow
        response.headers.update((k, v) for k, v in error.get_headers() if k != "Content-Type")
    response.headers.update(_HEADERS.get(body["status"], {}))
    if isinstance(error, Problem):
        response.headers.update(error.headers)
    return response


def _body(error: Exception) -> dict[str, Any]:
    match error:
        case Problem():
            return error.body
        case NotJsonError():
            return Kind.NOT_JSON.body(detail=str(error))
        case InvalidPayloadError():
            return Kind.INVALID_PAYLOAD.body(errors=error.errors)
        case HTTPException(code=int(status)):
            return body_of_status(status)
    if kind := _OF_ERROR.get(type(error)):
        pointer = _POINTERS.get(type(error))
        members = {} if pointer is None else {"errors": [{"pointer": pointer, "detail": str(error)}]}
        return kind.body(**members)
    log.error("request.failed", error=describe(error))
    return Kind.INTERNAL_ERROR.body()
