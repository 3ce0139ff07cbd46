"""The OpenAPI 3.1 document, made from the models that validate and from what stands beside each route."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import flask_swagger_ui
from flask import Blueprint, Flask, Response, current_app, send_from_directory
from flask.typing import ResponseReturnValue
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from api.errors import MEDIA_TYPE, Kind, Problem
from api.schemas import ProblemBody, ProblemKind

View = TypeVar("View", bound=Callable[..., Any])

_operations: dict[Callable[..., Any], "Operation"] = {}


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON body with its model and an example; `headers` maps those that matter to what they mean."""

    description: str
    model: type[BaseModel]
    example: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does.

    `answers` by HTTP status; `security` names the kind of bearer token it asks for; `query` holds the fields
    of its query string.
    """

    summary: str
    answers: Mapping[int, Body]
    problems: tuple[Kind, ...] = ()
    security: str | None = None
    request: Body | None = None
    query: type[BaseModel] | None = None


def described(operation: Operation) -> Callable[[View], View]:
    """Describe the view below it."""

    def remember(view: View) -> View:
        _operations[view] = operation
        return view

    return remember


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """Return a view's description; None for one that stays out of the document."""
    return _operations.get(view)


_PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")
_PARAMETER_SCHEMAS = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer", "minimum": 0},
    "id": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
}


def document(app: Flask) -> dict[str, Any]:
    """Describe every route of an application that has a description."""
    routes = list(_routes(app))
    operations = [operation for _, _, operation in routes]
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, operation in routes:
        path = _PARAMETER.sub(r"{\2}", rule.rule)
        paths.setdefault(path, {})[method] = _operation(rule, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "study-ingest", "version": version("study-ingest")},
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "securitySchemes": {
                o.security: {"type": "http", "scheme": "bearer"} for o in operations if o.security
            },
        },
    }


def _routes(app: Flask) -> Iterator[tuple[Rule, str, Operation]]:
    for rule in app.url_map.iter_rules():
        if operation := operation_of(app.view_functions[rule.endpoint]):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method.lower(), operation


def _operation(rule: Rule, operation: Operation) -> dict[str, Any]:
    answers = {str(status): _answer(body) for status, body in operation.answers.items()}
    described = {
        "operationId": rule.endpoint,
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": operation.summary,
        "parameters": [_parameter(*match) for match in _PARAMETER.findall(rule.rule)]
        + _query(operation.query),
        "responses": answers | _problems(operation.problems),
    }
    if operation.request:
        described["requestBody"] = {"required": True} | _content(operation.request)
    if operation.security:
        described["security"] = [{operation.security: []}]
    return described


def _parameter(converter: str, name: str) -> dict[str, Any]:
    schema = _PARAMETER_SCHEMAS.get(converter, {"type": "string"})
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    schema = model.model_json_schema() if model else {}
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": _stated(field),
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _stated(field: Mapping[str, Any]) -> dict[str, Any]:
    # A query string has no null: a field that may be left out is simply not there.
    return {key: value for key, value in field.items() if value is not None}


def _answer(body: Body) -> dict[str, Any]:
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in body.headers.items()
    }
    return _content(body) | {"headers": headers}


def _content(body: Body) -> dict[str, Any]:
    media = {"schema": _reference(body.model), "example": body.example}
    return {"description": body.description, "content": {"application/json": media}}


def _problems(kinds: tuple[Kind, ...]) -> dict[str, Any]:
    by_status = groupby(sorted(kinds, key=lambda kind: kind.status), key=lambda kind: kind.status)
    named = {str(status): _problem(list(each)) for status, each in by_status}
    return named | {"default": _problem([Kind.INTERNAL_ERROR])}


def _problem(kinds: list[Kind]) -> dict[str, Any]:
    examples = {kind.slug: {"summary": kind.advice, "value": kind.body()} for kind in kinds}
    media = {"schema": _reference(ProblemBody), "examples": examples}
    return {"description": "; ".join(kind.title for kind in kinds), "content": {MEDIA_TYPE: media}}


def _reference(model: type[BaseModel]) -> Mapping[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _schemas(operations: list[Operation]) -> dict[str, Any]:
    asked = {o.request.model for o in operations if o.request}
    answered = {body.model for o in operations for body in o.answers.values()} | {ProblemBody}
    _, found = models_json_schema(
        [(model, "validation") for model in asked] + [(model, "serialization") for model in answered],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas


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
