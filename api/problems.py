"""Errors as `application/problem+json` (RFC 9457): one shape, whoever refuses the request."""

import json
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from api.problem_kinds import Kind
from shared.errors import StoreUnavailableError
from shared.failures import describe
from shared.payload import InvalidPayloadError, NotJsonError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
# Long enough for a restart or a failover, short enough for a learner who waits for the result.
RETRY_AFTER_S = 30

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(RETRY_AFTER_S)}}
_KINDS = {
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    413: Kind.BODY_TOO_LARGE,
    500: Kind.INTERNAL_ERROR,
}


class Problem(Exception):  # noqa: N818  # RFC 9457's own word
    """Refuse a request; `members` are those that the kind adds to the standard ones."""

    def __init__(self, kind: Kind, **members: Any) -> None:
        super().__init__(kind.title)
        self.body = kind.body(**members)


def body_of_status(status: int) -> dict[str, Any]:
    """Write a problem of which no more than its HTTP status is known."""
    if kind := _KINDS.get(status):
        return kind.body()
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}


def install_problems(app: Flask) -> None:
    """Answer every error of an application with a problem."""
    app.register_error_handler(Exception, _answer)


def _answer(error: Exception) -> Response:
    body = _body(error)
    log.info("request.refused", endpoint=request.endpoint, problem=body["type"])
    response = Response(json.dumps(body), body["status"], mimetype=MEDIA_TYPE)
    if isinstance(error, HTTPException):  # such as Allow
        response.headers.update((k, v) for k, v in error.get_headers() if k != "Content-Type")
    response.headers.update(_HEADERS.get(body["status"], {}))
    return response


def _body(error: Exception) -> dict[str, Any]:
    match error:
        case Problem():
            return error.body
        case NotJsonError():
            return Kind.NOT_JSON.body(detail=str(error))
        case InvalidPayloadError():
            return Kind.INVALID_PAYLOAD.body(errors=error.errors)
        case StoreUnavailableError():
            return Kind.STORE_UNAVAILABLE.body()
        case HTTPException(code=int(status)):
            return body_of_status(status)
    log.error("request.failed", error=describe(error))
    return Kind.INTERNAL_ERROR.body()
