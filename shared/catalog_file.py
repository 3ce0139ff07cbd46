"""The catalog as a file: learners, topics, and questions with their public ids and right choices."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from shared.config import TimeZone
from shared.errors import CatalogError


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("Postgres keeps no NUL in a text")
    return text


Id = Annotated[int, Field(gt=0, lt=2**63)]
Text = Annotated[str, Field(min_length=1), AfterValidator(_storable)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class User(_Form):
    """A learner; without a time zone, the one that is known or the default."""

    id: Id
    time_zone: TimeZone | None = None


class Topic(_Form):
    """A topic of one learner."""

    id: Id
    user_id: Id
    name: Text


class CatalogQuestion(_Form):
    """A question of a topic, under the public id by which the viewer knows it."""

    id: Id
    pub_id: Text = Field(max_length=200)
    user_id: Id
    study_topic_id: Id
    subject: Text = Field(max_length=120)
    choices: list[Annotated[str, AfterValidator(_storable)]] = Field(min_length=2)
    correct_choice: int = Field(ge=0)
    exam_frequency: float | None = Field(None, ge=0, allow_inf_nan=False)
    retired_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _right_choice_exists(self) -> Self:
        if self.correct_choice >= len(self.choices):
            raise ValueError("correct_choice names none of the choices")
        return self


class CatalogFile(_Form):
    """A whole catalog; it may name a part of what is known, and says nothing of the rest."""

    users: list[User] = []
    topics: list[Topic] = []
    questions: list[CatalogQuestion] = []


def read_catalog(path: Path) -> CatalogFile:
    """Read a catalog; raise CatalogError with one line per mistake."""
    try:
        return CatalogFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        lines = [f"/{'/'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise CatalogError("\n".join(lines)) from None
