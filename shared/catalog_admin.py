"""Bring a catalog file into the tables; what learners' progress stands on changes only by `force`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert

from shared.config import TimeZone
from shared.db import execute
from shared.errors import CatalogError
from shared.models import Base, PublishedItem, StudyQuestion, StudyTopic, User
from shared.study.finalize import refold
from shared.study.grading import grade


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("Postgres keeps no NUL in a text")
    return text


Id = Annotated[int, Field(gt=0, lt=2**63)]
Text = Annotated[str, Field(min_length=1), AfterValidator(_storable)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CatalogUser(_Form):
    """A learner; without a time zone, the one that is known or the default."""

    id: Id
    time_zone: TimeZone | None = None


class CatalogTopic(_Form):
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

    users: list[CatalogUser] = []
    topics: list[CatalogTopic] = []
    questions: list[CatalogQuestion] = []


def read_catalog(path: Path) -> CatalogFile:
    """Read a catalog; raise CatalogError with one line per mistake."""
    try:
        return CatalogFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        lines = [f"/{'/'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise CatalogError("\n".join(lines)) from None


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """What a load changes of what is known.

    `rewrites`: changes that progress stands on, each told in a line; `regraded`: questions with another right
    choice; `rezoned`: learners with another time zone.
    """

    rewrites: list[str]
    regraded: list[int]
    rezoned: list[int]


def compare(connection: Connection, catalog: CatalogFile) -> CatalogChange:
    """Compare a catalog with what is known; raise CatalogError where it can never be loaded."""
    zones = dict(connection.execute(select(User.id, User.time_zone)).all())
    owners = dict(connection.execute(select(StudyTopic.id, StudyTopic.user_id)).all())
    if faults := _faults(catalog, set(zones), owners):
        raise CatalogError("\n".join(faults))
    known = {
        row.id: row
        for row in connection.execute(
            select(StudyQuestion.id, StudyQuestion.user_id, StudyQuestion.correct_choice)
        )
    }
    items = dict(connection.execute(select(PublishedItem.pub_id, PublishedItem.source_id)).all())
    met = [(question, known[question.id]) for question in catalog.questions if question.id in known]
    return CatalogChange(
        rewrites=[f"{q.pub_id}: its owner would change" for q, row in met if q.user_id != row.user_id]
        + [
            f"{q.pub_id}: its right choice would change"
            for q, row in met
            if q.correct_choice != row.correct_choice
        ]
        + [
            f"{q.pub_id}: it would name another question"
            for q in catalog.questions
            if items.get(q.pub_id, q.id) != q.id
        ],
        regraded=[q.id for q, row in met if q.correct_choice != row.correct_choice],
        rezoned=[u.id for u in catalog.users if u.time_zone and u.id in zones and zones[u.id] != u.time_zone],
    )


def _faults(catalog: CatalogFile, users: set[int], owners: dict[int, int]) -> list[str]:
    users = users | {user.id for user in catalog.users}
    topics = owners | {topic.id: topic.user_id for topic in catalog.topics}
    return [
        *_named_twice(f"learner {user.id}" for user in dict.fromkeys(catalog.users)),
        *_named_twice(f"topic {topic.id}" for topic in dict.fromkeys(catalog.topics)),
        *(f"topic {t.id}: learner {t.user_id} is unknown" for t in catalog.topics if t.user_id not in users),
        *(
            f"topic {t.id}: a topic never changes its owner"
            for t in catalog.topics
            if owners.get(t.id, t.user_id) != t.user_id
        ),
        *(
            f"{q.pub_id}: topic {q.study_topic_id} is no topic of learner {q.user_id}"
            for q in catalog.questions
            if topics.get(q.study_topic_id) != q.user_id
        ),
        *_contradictions(catalog.questions),
    ]


def _contradictions(questions: list[CatalogQuestion]) -> list[str]:
    """Find public ids named twice, and questions told of in two ways; several public ids for one are fine."""
    first: dict[int, CatalogQuestion] = {}
    faults = []
    for question in questions:
        same = first.setdefault(question.id, question)
        if same.model_copy(update={"pub_id": question.pub_id}) != question:
            faults.append(f"{question.pub_id}: differs from {same.pub_id}, which names the same question")
    return [*faults, *_named_twice(question.pub_id for question in questions)]


def _named_twice(names: Iterable[str]) -> list[str]:
    return [f"{name}: named twice" for name, times in Counter(names).items() if times > 1]


_LOAD = text("""
    SELECT a.id, a.selected, a.unsure, q.correct_choice
    FROM study_question_attempts a JOIN study_questions q ON q.id = a.study_question_id
    WHERE q.id = ANY(CAST(:question_ids AS bigint[]))
""")

_SAVE = text("""
    UPDATE study_question_attempts a SET outcome = graded.outcome, rating = graded.rating
    FROM unnest(CAST(:ids AS bigint[]), CAST(:outcomes AS text[]), CAST(:ratings AS smallint[]))
        AS graded (id, outcome, rating)
    WHERE a.id = graded.id
""")


def regrade(connection: Connection, question_ids: Iterable[int]) -> None:
    """Derive outcome and rating of every attempt at these questions anew; the caller folds again."""
    attempts = execute(connection, _LOAD, {"question_ids": list(question_ids)}).fetchall()
    grades = [grade(a.selected, unsure=a.unsure, correct_choice=a.correct_choice) for a in attempts]
    execute(
        connection,
        _SAVE,
        {
            "ids": [attempt.id for attempt in attempts],
            "outcomes": [each.outcome for each in grades],
            "ratings": [int(each.rating) for each in grades],
        },
    )


# One load at a time, and no replay meanwhile grades by what is being replaced. In the order of their ids, so
# that nobody waits for a load that waits for him.
_LOCK_LEARNERS = text("SELECT id FROM users ORDER BY id FOR NO KEY UPDATE")

_ANSWERED_BY = text("""
    SELECT s.user_id, array_agg(DISTINCT a.study_question_id) AS question_ids
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE a.study_question_id = ANY(CAST(:question_ids AS bigint[])) GROUP BY s.user_id
""")


def load_catalog(
    connection: Connection, catalog: CatalogFile, *, default_zone: str, force: bool = False
) -> CatalogChange:
    """Load a catalog; loading it again changes nothing.

    Raises CatalogError where it contradicts itself or what is known, and, without `force`, where a question's
    owner or right choice, or the question behind a public id, would change. With it, stored attempts are
    graded by the new right choice, and their progress is folded again.
    """
    execute(connection, _LOCK_LEARNERS)
    change = compare(connection, catalog)
    if change.rewrites and not force:
        raise CatalogError("\n".join([*change.rewrites, "use --force to change them all the same"]))
    _save(connection, catalog)
    regrade(connection, change.regraded)
    _fold_again(connection, change, default_zone)
    return change


def _save(connection: Connection, catalog: CatalogFile) -> None:
    questions = [question.model_dump(exclude={"pub_id"}) for question in catalog.questions]
    items = [{"pub_id": question.pub_id, "source_id": question.id} for question in catalog.questions]
    _upsert(connection, User, [user.model_dump() for user in catalog.users])
    _upsert(connection, StudyTopic, [topic.model_dump() for topic in catalog.topics])
    _upsert(connection, StudyQuestion, list({question["id"]: question for question in questions}.values()))
    _upsert(connection, PublishedItem, items)


def _upsert(connection: Connection, table: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    statement = insert(table)
    key = next(iter(table.__table__.primary_key))
    columns = [column for column in table.__table__.columns if column is not key]
    new = {column.name: statement.excluded[column.name] for column in columns}
    if table is User:  # a file that names no time zone keeps the one that is known
        new["time_zone"] = func.coalesce(new["time_zone"], User.time_zone)
    connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=new), rows)


def _fold_again(connection: Connection, change: CatalogChange, default_zone: str) -> None:
    for user_id in change.rezoned:
        refold(connection, user_id, default_zone)
    for row in execute(connection, _ANSWERED_BY, {"question_ids": change.regraded}):
        refold(connection, row.user_id, default_zone, row.question_ids)
