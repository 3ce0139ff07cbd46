"""Read the bodies and queries of the live side by their models."""

from collections.abc import Callable
from itertools import takewhile
from typing import TypeVar

from flask import request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from api.problem_kinds import Kind
from api.problems import Problem
from shared.payload import MAX_FAULTS, Fault, decode

M = TypeVar("M", bound=BaseModel)


def read_body(model: type[M]) -> M:
    """Read a JSON body, as strictly as an upload is read."""
    if request.mimetype != "application/json" or request.content_encoding:
        raise Problem(Kind.UNSUPPORTED_MEDIA_TYPE)
    value = decode(request.get_data(cache=False))
    return _validated(model, lambda: model.model_validate(value))


def read_query(model: type[M]) -> M:
    """Read the query string."""
    return _validated(model, lambda: model.model_validate_strings(request.args.to_dict()))


def _validated(model: type[M], validate: Callable[[], M]) -> M:
    try:
        return validate()
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_FAULTS]
        raise Problem(Kind.INVALID_REQUEST, errors=[_fault(model, each) for each in found]) from None


def _fault(model: type[BaseModel], error: ErrorDetails) -> Fault:
    # Ends before the first name that is not ours: a client's own keys are not repeated (I11).
    known = takewhile(model.model_fields.__contains__, error["loc"])
    return {"pointer": "".join(f"/{step}" for step in known), "detail": error["msg"]}
