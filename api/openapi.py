"""The OpenAPI 3.1 document, made from the models that validate and from what stands beside each route."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import groupby
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from api.answers import ProblemBody
from api.operation import Body, Operation, operation_of
from api.problem_kinds import Kind
from api.problems import MEDIA_TYPE

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
