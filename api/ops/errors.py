"""Errors under `/ops` as pages for people."""

from http import HTTPStatus

import structlog
from flask import Response, abort, render_template, request
from werkzeug.exceptions import HTTPException

from api.ops.door import blueprint
from api.problems import RETRY_AFTER_S
from shared.errors import (
    StoreUnavailableError,
    StudyIngestError,
    UnknownConflictError,
    UnknownLearnerError,
    UnknownSessionError,
    UnknownUploadError,
)
from shared.failures import describe

log = structlog.get_logger()

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@blueprint.route("/<path:elsewhere>", methods=METHODS)
def unknown(elsewhere: str) -> Response:  # noqa: ARG001  # the router passes it
    """Refuse every other address, or the application would, as it refuses programs."""
    abort(404, "There is no such page.")


@blueprint.errorhandler(Exception)
def show(error: Exception) -> Response:
    """Say what is wrong, in words of ours."""
    status, detail, headers = _told(error)
    log.info("ops.refused", endpoint=request.endpoint, status=status)
    page = render_template("error.html", title=HTTPStatus(status).phrase, detail=detail)
    return Response(page, status, headers=headers)


def _told(error: Exception) -> tuple[int, str, dict[str, str]]:
    match error:
        case HTTPException(code=int(status)):
            return status, error.description or "", {}
        case StoreUnavailableError():
            return 503, f"{error} Nothing is lost; try again.", {"Retry-After": str(RETRY_AFTER_S)}
        case UnknownLearnerError() | UnknownUploadError() | UnknownSessionError() | UnknownConflictError():
            return 404, f"{error}.", {}
        case StudyIngestError():
            return 409, f"{error}.", {}
    log.error("request.failed", error=describe(error))
    return 500, "This should not have happened; the log tells where it did.", {}
