"""The form of a catalog: its rows, read from JSON and checked."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Any, NamedTuple, Self

import pydantic

from shared.errors import CatalogError
from shared.payload import (
    MAX_PUB_ID,
    MAX_SUBJECT,
    PUB_ID_PATTERN,
    UNSTORABLE,
    Integer,
    as_integer,
    normal_id,
)
from shared.zones import TimeZone

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _storable(text: str) -> str:
    if UNSTORABLE.search(text):
        raise ValueError("contains NUL (\\0) or a lone surrogate, which Postgres cannot store: remove it")
    return text


def _not_blank(pub_id: str) -> str:
    if not re.match(PUB_ID_PATTERN, pub_id):
        raise ValueError("must have a character that is not a space")
    return pub_id


def _readable(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time from the year 1 to 9999 in UTC") from None


def _written(value: Any) -> Any:
    # pydantic would take a number, or a text such as "20261122", for seconds since 1970.
    if isinstance(value, str) and _DATE.match(value):
        return value
    raise ValueError("must be a text that begins with a date, such as 2026-11-22")


Id = Annotated[int, pydantic.Field(gt=0, lt=2**63), pydantic.BeforeValidator(as_integer)]
Date = Annotated[date, pydantic.Field(strict=False), pydantic.BeforeValidator(_written)]
# Postgres would store a time outside the years 1 to 9999, but Python could not read it again.
Moment = Annotated[
    pydantic.AwareDatetime,
    pydantic.Field(strict=False),
    pydantic.BeforeValidator(_written),
    pydantic.AfterValidator(_readable),
]
Text = Annotated[str, pydantic.Field(min_length=1), pydantic.AfterValidator(_storable)]


class _Form(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True, extra="forbid")


class CatalogUser(_Form):
    """A learner; without a time zone, the stored one stays; if none is stored, the default is used."""

    id: Id
    time_zone: TimeZone | None = None


class CatalogTopic(_Form):
    """A topic of one learner, with the date of its exam if there is one."""

    id: Id
    user_id: Id
    name: Text
    exam_on: Date | None = None


class CatalogEdition(_Form):
    """What a learner sees of a question under a public id, and the key by which answers are graded."""

    pub_id: Annotated[
        str,
        pydantic.AfterValidator(normal_id),
        pydantic.Field(min_length=1, max_length=MAX_PUB_ID),
        pydantic.AfterValidator(_storable),
        pydantic.AfterValidator(_not_blank),
    ]
    # The index of a choice is a smallint.
    choices: list[Annotated[str, pydantic.AfterValidator(_storable)]] = pydantic.Field(
        min_length=2, max_length=2**15
    )
    correct_choice: Integer = pydantic.Field(ge=0)
    published_at: Moment | None = None

    @pydantic.model_validator(mode="after")
    def _right_choice_exists(self) -> Self:
        if self.correct_choice >= len(self.choices):
            raise ValueError("correct_choice is not the index of a choice: the first choice has the index 0")
        return self


_EDITION_FIELDS = frozenset(CatalogEdition.model_fields)


class CatalogQuestion(_Form):
    """A question with its editions; in the flat form, the question has the fields of its only edition."""

    id: Id
    user_id: Id
    study_topic_id: Id
    subject: Text = pydantic.Field(max_length=MAX_SUBJECT)
    # Limited, as Postgres cannot compute the mean of numbers such as 1e200.
    exam_frequency: float | None = pydantic.Field(None, ge=0, le=1e9, allow_inf_nan=False)
    retired_at: Moment | None = None
    editions: list[CatalogEdition] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _flat_form(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "editions" in data:
            return data
        edition = {name: data[name] for name in data.keys() & _EDITION_FIELDS}
        return {name: value for name, value in data.items() if name not in edition} | {"editions": [edition]}


# Columns that keep their stored values when a table, Moodle's XML or QTI is loaded or synchronised: such
# files have no place for them. `retired_at` is not listed, as only `load` keeps it; `sync` deletes it.
NOT_IN_TABLES = frozenset({"exam_on", "exam_frequency", "published_at"})


class CatalogFile(_Form):
    """A catalog; loading it changes only the learners, topics and questions that it names."""

    users: list[CatalogUser] = []
    topics: list[CatalogTopic] = []
    questions: list[CatalogQuestion] = []

    @property
    def editions(self) -> Iterator[tuple[CatalogQuestion, CatalogEdition]]:
        """Yield every edition with its question."""
        return ((question, edition) for question in self.questions for edition in question.editions)


class EditionChange(NamedTuple):
    """What a load changes in a stored edition, and how many attempts of how many learners the edition has.

    `asked`: how many live sessions are asking its question, if a choice gets another place. The learners of
    these sessions answer with the index that a choice had when they saw the question.
    `changes`: some of `texts` (of the choices), `order` (the same texts, moved), `key` (the right choice),
    `question` (the edition is of another question now), `owner` (its question is another learner's now). A
    new `published_at` is not listed.
    """

    pub_id: str
    changes: tuple[str, ...]
    attempts: int
    learners: int
    asked: int = 0

    @property
    def refused(self) -> bool:
        """Return whether the change is refused even with `force`: attempts would lose their meaning."""
        return self.attempts > 0 and ("question" in self.changes or {"order", "key"} <= {*self.changes})

    @property
    def locks(self) -> bool:
        """Return whether replays must wait for the change; they do not wait for new texts or a new order."""
        return not {"key", "owner", "question"}.isdisjoint(self.changes)

    @property
    def regraded(self) -> bool:
        """Return whether attempts are graded again."""
        return self.attempts > 0 and "key" in self.changes

    def __str__(self) -> str:
        """Describe in one line what changes, and what becomes of the attempts."""
        changed = f"{self.pub_id}: {' and '.join(self.changes)} changed"
        if self.asked:
            changed += f"; {self.asked} live sessions are asking it"
        if not self.attempts:
            return f"{changed}; never answered"
        if self.refused:
            verdict = "could no longer be interpreted: publish a new edition with a new pub_id"
        else:
            verdict = "are graded again" if self.regraded else "keep their outcomes"
        return f"{changed}; {self.attempts} attempts of {self.learners} learners {verdict}"


def read_catalog(text: bytes) -> CatalogFile:
    """Read a catalog in JSON; raise CatalogError with one line per mistake."""
    try:
        data = json.loads(decode(text), object_pairs_hook=_object)
        return validate(data, lambda steps: f"/{'/'.join(map(str, steps))}")  # a JSON pointer
    except json.JSONDecodeError as error:
        raise CatalogError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise CatalogError("the catalog nests too deeply: check its brackets") from None
    except ValueError:  # Python limits the digits of an integer
        raise CatalogError("a number has too many digits") from None


def decode(text: bytes) -> str:
    """Read UTF-8; raise CatalogError with the number of the first line that is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise CatalogError(f"line {line}: not UTF-8: save the file as UTF-8") from None


def validate(data: Any, place: Callable[[tuple[int | str, ...]], str]) -> CatalogFile:
    """Make a catalog from plain data; raise CatalogError with the place of each mistake."""
    try:
        return CatalogFile.model_validate(data)
    except pydantic.ValidationError as error:
        lines = [
            f"{place(e['loc'])}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False)
        ]
        raise CatalogError("\n".join(lines)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        entry = members.get("pub_id") or members.get("id") or "the catalog"
        raise CatalogError("\n".join(repeated(f"the member {name} of {entry}" for name, _ in pairs)))
    return members


def join(parts: Iterable[CatalogFile]) -> CatalogFile:
    """Join parts of a catalog."""
    rows: dict[str, list[Any]] = {kind: [] for kind in CatalogFile.model_fields}
    for part in parts:
        for kind in rows:
            rows[kind] += getattr(part, kind)
    return CatalogFile(**rows)


def repeated(names: Iterable[str]) -> list[str]:
    """Return a line for each name that appears more than once."""
    return [f"{name}: appears more than once" for name, times in Counter(names).items() if times > 1]
