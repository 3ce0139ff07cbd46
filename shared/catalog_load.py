"""Bring a catalog file into the tables; what learners' progress stands on changes only by `force`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, func, text
from sqlalchemy.dialects.postgresql import insert

from shared.catalog_change import CatalogChange, compare
from shared.catalog_file import CatalogFile
from shared.errors import CatalogError
from shared.models.base import Base
from shared.models.catalog import PublishedItem, StudyQuestion, StudyTopic, User
from shared.study.finalize import refold
from shared.study.regrade import regrade

# One load at a time, and no replay meanwhile grades by what is being replaced. In the order of their ids, so
# that nobody waits for a load that waits for him.
_LOCK_LEARNERS = text("SELECT id FROM users ORDER BY id FOR NO KEY UPDATE")

_ANSWERED_BY = text("""
    SELECT s.user_id, array_agg(DISTINCT a.study_question_id) AS question_ids
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE a.study_question_id = ANY(CAST(:question_ids AS bigint[])) GROUP BY s.user_id
""")


def load_catalog(
    engine: Engine, catalog: CatalogFile, *, default_zone: str, force: bool = False
) -> CatalogChange:
    """Load a catalog in one transaction; loading it again changes nothing.

    Raises CatalogError where it contradicts itself or what is known, and, without `force`, where a question's
    owner or right choice, or the question behind a public id, would change. With it, stored attempts are
    graded by the new right choice, and their progress is folded again.
    """
    with engine.begin() as connection:
        connection.execute(_LOCK_LEARNERS)
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
    for row in connection.execute(_ANSWERED_BY, {"question_ids": change.regraded}):
        refold(connection, row.user_id, default_zone, row.question_ids)
