"""A small world to replay in: three learners in three time zones, what they know, and what arrives."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, FromClause, select, text

from shared.catalog_admin import CatalogChange, CatalogFile, load_catalog
from shared.models import Base, StudyQuestionProgress, Upload
from shared.payload import content_hash, parse_upload
from shared.replay import replay
from shared.study.store import list_progress
from shared.uploads import Delivery, Found, Receipt, find, receive

ANN, BEN, CHO = 1, 2, 3
ZONES = {ANN: None, BEN: "America/New_York", CHO: "Asia/Seoul"}
DEFAULT_ZONE = "UTC"
RIGHT, WRONG, NO_CHOICE, IMPOSSIBLE = 1, 2, None, 4

# Later than every answer, so that no clock needs a correction unless a test is about that.
ARRIVAL = datetime(2026, 12, 1, 12, tzinfo=UTC)
# Far from every time in a payload: what says this was stamped by arrival.
NOW = datetime(2030, 1, 1, tzinfo=UTC)

# DELETE: of so few rows, it is many times faster than TRUNCATE.
FORGET = text("""
    WITH a AS (DELETE FROM study_quiz_sessions), b AS (DELETE FROM study_question_progress),
        c AS (DELETE FROM upload_conflicts)
    DELETE FROM uploads
""")


def question(number: int, pub_id: str = "", **changes: Any) -> dict[str, Any]:
    """Describe a question; its number names its topic (all but the last digit) and learner (the first)."""
    described = {"id": number, "pub_id": pub_id or f"q{number}", "subject": f"subject {number % 2}"}
    where = {"user_id": number // 100, "study_topic_id": number // 10}
    return described | where | {"choices": ["a", "b", "c", "d"], "correct_choice": RIGHT} | changes


CATALOG: Mapping[str, list[dict[str, Any]]] = {
    "users": [{"id": learner, "time_zone": zone} for learner, zone in ZONES.items()],
    "topics": [
        {"id": 10 * learner + n, "user_id": learner, "name": f"topic {n}"}
        for learner in ZONES
        for n in (1, 2)
    ],
    "questions": [
        question(100 * learner + n, pub_id)
        for learner in ZONES
        for n, pub_id in [(10, ""), (10, f"twin{learner}10"), (11, ""), (20, "")]
    ],
}


def load(
    engine: Engine, catalog: Mapping[str, list[dict[str, Any]]] = CATALOG, *, force: bool = False
) -> CatalogChange:
    file = CatalogFile.model_validate_json(json.dumps(catalog))
    return load_catalog(engine, file, default_zone=DEFAULT_ZONE, force=force)


def forget(engine: Engine) -> None:
    """Forget everything but the catalog."""
    with engine.begin() as connection:
        connection.execute(FORGET)


def answer(
    pub_id: str, at: str, selected: int | None = RIGHT, *, unsure: bool = False, **unknown: Any
) -> dict[str, Any]:
    return {"pub_id": pub_id, "selected": selected, "unsure": unsure, "answered_at": at} | unknown


def upload(*answers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"client_session_uuid": str(uuid4()), "attempts": list(answers)} | fields


def uuid_of(sent: dict[str, Any]) -> UUID:
    return UUID(sent["client_session_uuid"])


def delivery(sent: dict[str, Any], received_at: datetime = ARRIVAL) -> Delivery:
    body = json.dumps(sent)
    read = parse_upload(body.encode())
    return Delivery(read.client_session_uuid, body, content_hash(read), received_at)


def deliver(engine: Engine, sent: dict[str, Any], received_at: datetime = ARRIVAL) -> Receipt:
    with engine.begin() as connection:
        (receipt,) = receive(connection, [delivery(sent, received_at)], first_try_after=30)
    return receipt


def work_off(engine: Engine, sent: dict[str, Any]) -> None:
    replay(engine, uuid_of(sent), now=NOW, default_zone=DEFAULT_ZONE)


def ingest(engine: Engine, sent: dict[str, Any], received_at: datetime = ARRIVAL) -> Found:
    deliver(engine, sent, received_at)
    work_off(engine, sent)
    return standing(engine, sent)


def standing(engine: Engine, sent: dict[str, Any]) -> Found:
    with engine.connect() as connection:
        found = find(connection, uuid_of(sent))
    assert found is not None
    return found


def rows(engine: Engine, model: type[Base]) -> list[dict[str, Any]]:
    """Return all rows of a table, in the order of its key."""
    with engine.connect() as connection:
        return _rows(connection, model.__table__)


def everything(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables."""
    with engine.connect() as connection:
        return {name: _rows(connection, table) for name, table in Base.metadata.tables.items()}


def _rows(connection: Connection, table: FromClause) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]


def progress(engine: Engine) -> list[str]:
    """Return the progress of all learners: as it is shown, then as it is kept."""
    kept = [
        {name: str(value) for name, value in row.items() if name != "updated_at"}
        for row in rows(engine, StudyQuestionProgress)
    ]
    with engine.connect() as connection:
        shown = [line for learner in ZONES for line in list_progress(connection, learner)]
    return [json.dumps(line) for line in [*shown, *kept]]


def reviews(engine: Engine) -> dict[int, int]:
    """Return how many reviews moved the progress of each question."""
    return {row["study_question_id"]: row["reviews"] for row in rows(engine, StudyQuestionProgress)}


def statuses(engine: Engine) -> list[str]:
    return [row["status"] for row in rows(engine, Upload)]
