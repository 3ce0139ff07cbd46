"""Data for tests: three learners in three time zones, their catalog and their uploads."""

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, FromClause, insert, select, text

from shared.catalog_admin import load_catalog
from shared.catalog_form import CatalogFile, EditionChange
from shared.models import Base, StudyQuestionProgress, StudyQuizSession, Upload, UploadConflict
from shared.ops.actions import accept_conflict
from shared.payload import EXAMPLE_UPLOAD
from shared.replay import Replayed, replay
from shared.study.finalize import verify
from shared.study.store import list_progress
from shared.uploads import Delivery, Receipt, find, receive

START = datetime(2026, 9, 1, 8, tzinfo=UTC)
CHOICES = 4
MANY_ZONES = ("Asia/Seoul", "America/New_York", None)
QUESTIONS = 12
TOPICS = 3


def many_learners(learners: int = 3) -> CatalogFile:
    """Make a catalog: each learner has three topics, each with four questions."""
    return CatalogFile.model_validate(
        {
            "users": [
                {"id": n, "time_zone": MANY_ZONES[n % len(MANY_ZONES)]} for n in range(1, learners + 1)
            ],
            "topics": [
                {"id": n * 10 + t, "user_id": n, "name": f"topic {t}"}
                for n in range(1, learners + 1)
                for t in range(TOPICS)
            ],
            "questions": [_question(n, q) for n in range(1, learners + 1) for q in range(QUESTIONS)],
        }
    )


def _question(learner: int, number: int) -> dict[str, Any]:
    return {
        "id": learner * 1000 + number,
        "pub_id": f"q-{learner}-{number:02}",
        "user_id": learner,
        "study_topic_id": learner * 10 + number % TOPICS,
        "subject": f"subject {number % 2}",
        "choices": [f"choice {n}" for n in range(CHOICES)],
        "correct_choice": number % CHOICES,
    }


def load_many(engine: Engine, learners: int = 3) -> None:
    with engine.begin() as connection:
        load_catalog(connection, many_learners(learners))


def random_upload(rng: random.Random, learner: int, attempts: int = 8, **changes: Any) -> dict[str, Any]:
    """Make one upload of one learner, with equal times and repeated questions."""
    start = START + timedelta(minutes=rng.randrange(60 * 24 * 30))
    answers = []
    for _ in range(attempts):
        start += timedelta(seconds=rng.choice([0, 0, 7, 40]))
        answers.append(
            {
                "pub_id": f"q-{learner}-{rng.randrange(QUESTIONS):02}",
                "selected": rng.choice([None, *range(CHOICES), *range(CHOICES)]),
                "unsure": rng.random() < 0.2,
                "answered_at": start.isoformat(),
            }
        )
    made = {
        "client_session_uuid": str(UUID(int=rng.getrandbits(128), version=4)),
        "finished_at": start.isoformat(),
        "sent_at": start.isoformat(),
        "attempts": answers,
    }
    return made | changes


def fast(rng: random.Random, learner: int, ahead: timedelta = timedelta(days=2)) -> dict[str, Any]:
    """Make an upload of a viewer whose clock is ahead."""
    made = random_upload(rng, learner, sent_at=(datetime.now(UTC) + ahead).isoformat())
    for attempt in made["attempts"]:
        attempt["answered_at"] = (datetime.fromisoformat(attempt["answered_at"]) + ahead).isoformat()
    return made


def mixed(rng: random.Random) -> dict[str, Any]:
    """Make an upload whose questions belong to two learners."""
    made = random_upload(rng, 1)
    made["attempts"][0]["pub_id"] = "q-2-00"
    return made


def body(made: dict[str, Any]) -> str:
    return json.dumps(made)


ANN, BEN, CHO = 1, 2, 3
ZONES = {ANN: None, BEN: "America/New_York", CHO: "Asia/Seoul"}
DEFAULT_ZONE = "UTC"
RIGHT, WRONG, NO_CHOICE, IMPOSSIBLE = 1, 2, None, 4

# Later than every answer, so that no clock needs a correction unless a test is about that.
ARRIVAL = datetime(2026, 12, 1, 12, tzinfo=UTC)
# Far from every time in a payload: a stored time of this date was set by the replay.
NOW = datetime(2030, 1, 1, tzinfo=UTC)

# DELETE: with so few rows, it is many times faster than TRUNCATE.
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
        for n, pub_id in [(10, ""), (10, f"second{learner}10"), (11, ""), (20, "")]
    ],
}


def load(
    engine: Engine, catalog: Mapping[str, list[dict[str, Any]]] = CATALOG, *, force: bool = False
) -> list[EditionChange]:
    with engine.begin() as connection:
        return load_catalog(connection, read(catalog), force=force)


def read(catalog: Mapping[str, list[dict[str, Any]]]) -> CatalogFile:
    return CatalogFile.model_validate_json(json.dumps(catalog))


def forget(engine: Engine) -> None:
    """Delete everything but the catalog."""
    with engine.begin() as connection:
        connection.execute(FORGET)


def answer(
    pub_id: str, at: str, selected: int | None = RIGHT, *, unsure: bool = False, **unknown: Any
) -> dict[str, Any]:
    return {"pub_id": pub_id, "selected": selected, "unsure": unsure, "answered_at": at} | unknown


def upload(*answers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"client_session_uuid": str(uuid4()), "attempts": list(answers)} | fields


def an_upload(**changes: Any) -> dict[str, Any]:
    """Make an upload as the API's document shows it."""
    return EXAMPLE_UPLOAD | {"client_session_uuid": str(uuid4())} | changes


def uuid_of(sent: dict[str, Any]) -> UUID:
    return UUID(sent["client_session_uuid"])


def delivery(
    sent: dict[str, Any], received_at: datetime = ARRIVAL, learner_id: int | None = None
) -> Delivery:
    return Delivery.read(json.dumps(sent).encode(), received_at, learner_id=learner_id)


def deliver(
    engine: Engine, sent: dict[str, Any], received_at: datetime = ARRIVAL, learner_id: int | None = None
) -> Receipt:
    with engine.begin() as connection:
        (receipt,) = receive(connection, [delivery(sent, received_at, learner_id)], first_try_after=30)
    return receipt


def work_off(engine: Engine, *sent: dict[str, Any]) -> dict[UUID, Replayed]:
    """Replay uploads in one transaction."""
    with engine.begin() as connection:
        return replay(connection, map(uuid_of, sent), now=NOW, default_zone=DEFAULT_ZONE)


def ingest(engine: Engine, sent: dict[str, Any], received_at: datetime = ARRIVAL) -> Any:
    deliver(engine, sent, received_at)
    work_off(engine, sent)
    return standing(engine, sent)


def accept(engine: Engine) -> None:
    """Accept the only conflict."""
    (conflict,) = rows(engine, UploadConflict)
    with engine.begin() as connection:
        accept_conflict(connection, conflict["id"])


def begin_session(engine: Engine, learner: int, topic: int, *questions: int) -> None:
    """Begin a live session that asks these questions, also those of other owners."""
    with engine.begin() as connection:
        asked = {"user_id": learner, "study_topic_id": topic, "question_ids": questions}
        connection.execute(insert(StudyQuizSession).values(asked))


def standing(engine: Engine, sent: dict[str, Any]) -> Any:
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
    """Return the progress of all learners: as `study-ingest progress` prints it, then as the table has it."""
    kept = [
        {name: str(value) for name, value in row.items() if name not in {"updated_at", "changed_xid"}}
        for row in rows(engine, StudyQuestionProgress)
    ]
    with engine.connect() as connection:
        shown = [line for learner in ZONES for line in list_progress(connection, learner)]
    return [json.dumps(line) for line in [*shown, *kept]]


def reviews(engine: Engine) -> dict[int, int]:
    """Return the stored number of reviews of each question."""
    return {row["study_question_id"]: row["reviews"] for row in rows(engine, StudyQuestionProgress)}


def sound(engine: Engine) -> bool:
    """Return whether all progress is what `verify` computes again."""
    return not any(checked.differing for checked in verify(engine))


def statuses(engine: Engine) -> list[str]:
    return [row["status"] for row in rows(engine, Upload)]
