"""The OpenAPI 3.1 document, made by flask-openapi3 from routes and models, and the page that shows it."""

from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import flask_swagger_ui
from flask import Blueprint, Response, current_app, request, send_from_directory
from flask_openapi3 import APIBlueprint, Info, OpenAPI, RequestBody, Tag
from flask_openapi3.models import OPENAPI3_REF_PREFIX
from flask_openapi3.types import ResponseDict
from flask_openapi3.utils import parse_body
from pydantic import BaseModel

from api import errors, schemas

PAGE = Path(__file__).with_name("docs_page")
SWAGGER_UI = Path(flask_swagger_ui.__file__).with_name("dist")
# The page loads nothing from another site; Swagger UI draws its icons as `data:` images.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def make_documented_app(import_name: str) -> OpenAPI:
    """Make a Flask application whose `api_doc` describes its routes and the webhooks."""
    app = OpenAPI(
        import_name,
        static_folder=None,
        info=Info(title="study-ingest", version=version("study-ingest")),
        security_schemes={
            name: {"type": "http", "scheme": "bearer"} for name in ("viewer", "study", "catalog")
        },
        doc_ui=False,  # flask-openapi3's own pages would need other sites or more packages
        # `answers` describes a "default" for every operation: so flask-openapi3 adds no further answer for
        # invalid requests.
        validation_error_status="default",
        validation_error_model=schemas.ProblemDetails,
        validation_error_callback=errors.refuse_invalid,
    )
    describe_webhooks(app)
    return app


def answers(bodies: ResponseDict, *kinds: errors.Kind) -> ResponseDict:
    """Describe an operation's answers: bodies by status, kinds of problems, and always a problem for a 500.

    The problem for a 500 is OpenAPI's `default`, which describes all answers with any other status.
    """

    def problem(some: list[errors.Kind]) -> dict[str, Any]:
        media = {
            "schema": {"$ref": f"{OPENAPI3_REF_PREFIX}/{schemas.ProblemDetails.__name__}"},
            "examples": {kind.slug: {"summary": kind.advice, "value": kind.body()} for kind in some},
        }
        return {"description": "; ".join(kind.title for kind in some), "content": {errors.MEDIA_TYPE: media}}

    by_status = groupby(sorted(kinds, key=lambda kind: kind.status), key=lambda kind: kind.status)
    problems: ResponseDict = {status: problem(list(some)) for status, some in by_status}
    return {**bodies, **problems, "default": problem([errors.Kind.INTERNAL_ERROR])}


def describe_body(blueprint: APIBlueprint, model: type[BaseModel]) -> dict[str, Any]:
    """Describe a JSON body that the view itself parses: flask-openapi3 would parse less strictly."""
    content, components = parse_body(model)
    blueprint.components_schemas.update(components)
    return {"requestBody": RequestBody(content=content, required=True)}


WEBHOOKS = {
    "explain_misses": schemas.ExplainMissesWebhook,
    "weak_areas": schemas.WeakAreasWebhook,
    "upload.dead": schemas.UploadDeadWebhook,
    "progress.changed": schemas.ProgressChangedWebhook,
}
# docs/webhooks.md explains them.
WEBHOOK_HEADERS = {
    "webhook-id": "the same at every try: ignore a message whose id is known",
    "webhook-timestamp": "when this try was sent, in seconds since 1970; refuse an old message",
    "webhook-signature": "one `v1,…` signature for each key, as in Standard Webhooks",
}
WEBHOOK_ANSWERS = {
    "2XX": "The webhook is delivered.",
    "410": "The webhook is dead: only an operator can send it again.",
    "default": (
        "The webhook is sent again, with growing waits, not before `Retry-After`, until its tries are"
        " exhausted: then it is dead. Redirects are not followed."
    ),
}


def describe_webhooks(app: OpenAPI) -> None:
    """Add the webhooks to the document: flask-openapi3 has no support for them."""
    app.openapi_extensions["webhooks"] = webhooks = {}
    for kind, model in WEBHOOKS.items():
        content, components = parse_body(model)
        app.components_schemas.update(components)
        body = RequestBody(content=content, required=True)
        webhooks[kind] = {
            "post": {
                "summary": model.__doc__,
                "parameters": [
                    {
                        "name": name,
                        "in": "header",
                        "required": True,
                        "description": text,
                        "schema": {"type": "string"},
                    }
                    for name, text in WEBHOOK_HEADERS.items()
                ],
                "requestBody": body.model_dump(mode="json", by_alias=True, exclude_unset=True),
                "responses": {code: {"description": text} for code, text in WEBHOOK_ANSWERS.items()},
            }
        }


docs_routes = Blueprint("docs", __name__)


@docs_routes.get("/openapi.json")
def document() -> dict[str, Any]:
    """Serve the document, with the URL prefix of this request."""
    app = current_app
    assert isinstance(app, OpenAPI)  # noqa: S101  # for the type
    return app.api_doc | {"servers": [{"url": request.root_path or "/"}]}


@docs_routes.get("/docs")
def page() -> Response:
    """Serve the page that shows the OpenAPI document; the page loads nothing from another site."""
    response = send_from_directory(PAGE, "index.html")
    response.headers["Content-Security-Policy"] = POLICY
    return response


@docs_routes.get("/docs/start.js")
def start() -> Response:
    """Serve the script by which the page opens the document: the page's policy forbids inline scripts."""
    return send_from_directory(PAGE, "start.js")


@docs_routes.get("/docs/swagger-ui/<path:name>")
def swagger_ui(name: str) -> Response:
    """Serve a part of Swagger UI from its package."""
    return send_from_directory(SWAGGER_UI, name)


KINDS = {kind.slug: kind for kind in errors.Kind}
problem_routes = APIBlueprint("problems", __name__, abp_tags=[Tag(name="problems")])


class ProblemPath(BaseModel):
    """The end of a problem's `type`."""

    slug: str


@problem_routes.get(
    "/problems/<slug>",
    operation_id="explainProblem",
    responses=answers({200: schemas.ProblemExplanation}, errors.Kind.NOT_FOUND),
)
def explain(path: ProblemPath) -> dict[str, Any]:
    """Explain a kind of problem, by the `type` of an error."""
    kind = KINDS.get(path.slug)
    if kind is None:
        raise errors.Problem(errors.Kind.NOT_FOUND)
    return kind.body(advice=kind.advice)
