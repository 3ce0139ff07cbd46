"""What loading a catalog would change, and what forbids it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from shared.catalog_file import CatalogFile, CatalogQuestion
from shared.errors import CatalogError
from shared.models.catalog import PublishedItem, StudyQuestion, StudyTopic, User


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
