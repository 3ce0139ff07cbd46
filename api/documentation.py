"""The API's document, a page to read it by, and a word on each kind of problem."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, current_app, send_from_directory
from flask.typing import ResponseReturnValue

from api.answers import ProblemKind
from api.openapi import document
from api.operation import Body, Operation, described
from api.problem_kinds import Kind
from api.problems import Problem

_KEY = "study_ingest.document"
blueprint = Blueprint("documentation", __name__)

KINDS = {kind.slug: kind for kind in Kind}
PAGE = Path(__file__).with_name("docs_page")
SWAGGER_UI = Path(flask_swagger_ui.__file__).with_name("dist")
# Nothing from elsewhere, not even by mistake; Swagger UI draws its icons with data: images.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@blueprint.get("/openapi.json")
def openapi() -> ResponseReturnValue:
    """Serve the document; it is composed once, since that takes as long as thirty uploads."""
    kept = current_app.extensions
    if _KEY not in kept:
        kept[_KEY] = current_app.json.dumps(document(current_app))
    return Response(kept[_KEY], content_type="application/json")


@blueprint.get("/docs")
def page() -> Response:
    """Serve the page; it works without any other site."""
    response = send_from_directory(PAGE, "index.html")
    response.headers["Content-Security-Policy"] = POLICY
    return response


@blueprint.get("/docs/start.js")
def start() -> Response:
    """Serve the script that opens the document; inline, the policy would have to allow every script."""
    return send_from_directory(PAGE, "start.js")


@blueprint.get("/docs/swagger-ui/<path:name>")
def swagger_ui(name: str) -> Response:
    """Serve a part of Swagger UI from its package."""
    return send_from_directory(SWAGGER_UI, name)


@blueprint.get("/problems/<slug>")
@described(
    Operation(
        "Explain a kind of problem, by the `type` of an error",
        {200: Body("Its meaning", ProblemKind, Kind.NOT_JSON.explanation())},
        problems=(Kind.NOT_FOUND,),
    )
)
def problem(slug: str) -> ResponseReturnValue:
    """Explain a kind of problem."""
    kind = KINDS.get(slug)
    if kind is None:
        raise Problem(Kind.NOT_FOUND)
    return kind.explanation()
