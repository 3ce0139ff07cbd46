"""Lists by pages: an opaque cursor says up to which place a list was read."""

import base64
import json
import re
from collections.abc import Sequence
from datetime import date
from operator import methodcaller
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.problem_kinds import Kind
from api.problems import Problem
from shared.live.lists import NoteState

MAX_PAGE = 100
# A time and an id in base 64 take a fraction of it.
MAX_CURSOR = 200
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")

P = TypeVar("P", bound=tuple[Any, ...])


class PageQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_PAGE, description="most items of a page")
    cursor: str = Field("", max_length=MAX_CURSOR, description="the `next_cursor` of the page before")


def _day(value: Any) -> date:
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise PydanticCustomError("day", "Input should be a day, such as 2026-11-22")


class ReviewQuery(PageQuery):
    """Which due reviews."""

    due_before: Annotated[
        date | None, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})
    ] = Field(None, description="a study day; without one, what is due today")


class NoteQuery(PageQuery):
    """Which wrong notes."""

    state: NoteState = "open"


def place(query: PageQuery, before_first: P) -> P:
    """Return the place that a cursor names, or the one before the first."""
    if not query.cursor:
        return before_first
    try:
        text = base64.b64decode(query.cursor, altchars=b"-_", validate=True)
        return TypeAdapter(type(before_first)).validate_json(text, strict=True)
    except ValueError:
        fault = {"pointer": "/cursor", "detail": "Input should be the next_cursor of the page before"}
        raise Problem(Kind.INVALID_REQUEST, errors=[fault]) from None


def page(rows: Sequence[tuple[tuple[Any, ...], dict[str, Any]]], limit: int) -> dict[str, Any]:
    """Make a page of rows with their places; of one row more than it takes, so that it knows of a next."""
    kept = rows[:limit]
    return {
        "items": [item for _, item in kept],
        "next_cursor": _cursor(kept[-1][0]) if len(rows) > limit else None,
    }


def _cursor(after: tuple[Any, ...]) -> str:
    text = json.dumps(after, default=methodcaller("isoformat"))
    return base64.urlsafe_b64encode(text.encode()).decode()
