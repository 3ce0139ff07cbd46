"""What the API document says of a route; it stands beside the route, as its decorator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from api.problem_kinds import Kind

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
