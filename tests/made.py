"""Made learners, questions and uploads: the same seed gives the same ones."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from shared.catalog_admin import CatalogFile, load_catalog

START = datetime(2026, 9, 1, 8, tzinfo=UTC)
CHOICES = 4
ZONES = ("Asia/Seoul", "America/New_York", None)
QUESTIONS = 12
TOPICS = 3


def catalog(learners: int = 3) -> CatalogFile:
    """Make learners with three topics of four questions each."""
    return CatalogFile.model_validate(
        {
            "users": [{"id": n, "time_zone": ZONES[n % len(ZONES)]} for n in range(1, learners + 1)],
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


def load(engine: Engine, learners: int = 3) -> None:
    load_catalog(engine, catalog(learners), default_zone="UTC")


def upload(chance: random.Random, learner: int, attempts: int = 8, **changes: Any) -> dict[str, Any]:
    """Make one upload of one learner, with ties in time and repeats."""
    start = START + timedelta(minutes=chance.randrange(60 * 24 * 30))
    answers = []
    for _ in range(attempts):
        start += timedelta(seconds=chance.choice([0, 0, 7, 40]))
        answers.append(
            {
                "pub_id": f"q-{learner}-{chance.randrange(QUESTIONS):02}",
                "selected": chance.choice([None, *range(CHOICES), *range(CHOICES)]),
                "unsure": chance.random() < 0.2,
                "answered_at": start.isoformat(),
            }
        )
    made = {
        "client_session_uuid": str(UUID(int=chance.getrandbits(128), version=4)),
        "finished_at": start.isoformat(),
        "sent_at": start.isoformat(),
        "attempts": answers,
    }
    return made | changes


def fast(chance: random.Random, learner: int, ahead: timedelta = timedelta(days=2)) -> dict[str, Any]:
    """Make an upload of a viewer whose clock is ahead."""
    made = upload(chance, learner, sent_at=(datetime.now(UTC) + ahead).isoformat())
    for attempt in made["attempts"]:
        attempt["answered_at"] = (datetime.fromisoformat(attempt["answered_at"]) + ahead).isoformat()
    return made


def mixed(chance: random.Random) -> dict[str, Any]:
    """Make an upload whose questions belong to two learners."""
    made = upload(chance, 1)
    made["attempts"][0]["pub_id"] = "q-2-00"
    return made


def body(made: dict[str, Any]) -> str:
    return json.dumps(made)
