"""What an operator looks for, as the search form says it."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from flask import request
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from shared.live.forms import BIGINT
from shared.ops.search import Listed, Place, Search
from shared.uploads import Status

LIMIT = 50
# Words for people, where the validator's would be for programs.
TOLD = {
    "uuid": "This is no uuid; one looks like 6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11.",
    "learner": "A learner's id is a whole number.",
    "status": "There is no such status.",
    "question": "This cannot be the id of a question.",
    "error": "No error can say this.",
    "after": "This is no place in the list; search again.",
}


def _place(value: Any) -> Any:
    return TypeAdapter(tuple[AwareDatetime, UUID]).validate_python(tuple(str(value).split("~")))


# Postgres keeps no NUL: nothing with one can be found.
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class Wanted(BaseModel):
    """The search form's fields; an empty one wants nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    uuid: UUID | None = None
    learner: Annotated[int, Field(ge=0, lt=BIGINT)] | None = None
    question: Words | None = None
    error: Words | None = None
    status: Status | None = None
    after: Annotated[tuple[datetime, UUID], BeforeValidator(_place)] | None = None

    @property
    def everything(self) -> Search:
        """Ask for all that is like this."""
        return Search(self.status, None, self.learner, self.question, self.error, None)

    @property
    def page(self) -> Search:
        """Ask for a page, and one row more, so that a next page is known of."""
        after = Place(*self.after) if self.after else None
        return replace(self.everything, limit=LIMIT + 1, after=after)


def given() -> dict[str, Any]:
    """Return the fields that are not empty, as they were typed."""
    return {name: text for name in TOLD if (text := request.values.get(name, "").strip())}


def read_wanted() -> tuple[Wanted, dict[str, str]]:
    """Read the form; where fields are wrong, return what is right, and why the others are not."""
    fields = given()
    try:
        return Wanted.model_validate(fields), {}
    except ValidationError as error:
        wrong = {str(each["loc"][0]): TOLD[str(each["loc"][0])] for each in error.errors(include_input=False)}
        return Wanted.model_validate({name: fields[name] for name in fields if name not in wrong}), wrong


def place_after(listed: Listed) -> str:
    """Write down the place after an upload."""
    return f"{listed.received_at.isoformat()}~{listed.client_session_uuid}"
