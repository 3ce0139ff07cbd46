"""Progress beside the oracle's, which knows the rules of docs/learning.md and nothing of the project.

STUDY_INGEST_LOG may name a folder with the `catalog.json` and `uploads.ndjson` of a real log.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from shared.study.store import list_progress
from tests import oracle
from tests.factories import DEFAULT_ZONE, ingest, load, sound

LOG = os.environ.get("STUDY_INGEST_LOG")
LEARNER = 1
QUESTIONS = 12
START = datetime(2026, 3, 1, 9, tzinfo=UTC)
ZONES = [ZoneInfo("Asia/Seoul"), ZoneInfo("America/Los_Angeles"), UTC]


def write_log(folder: Path, rng: Random) -> None:
    """Make the log of a learner who travels, repeats and is unsure; some questions are published twice."""
    edited_at = START + timedelta(days=60)
    questions = [
        {
            "id": number,
            "user_id": LEARNER,
            "study_topic_id": 1 + number % 2,
            "subject": "subject",
            "editions": [
                {"pub_id": f"q{number:02}", "choices": ["a", "b", "c"], "correct_choice": 1},
                *(
                    {
                        "pub_id": f"q{number:02}.2",
                        "choices": ["b", "c", "a"],
                        "correct_choice": 0,
                        "published_at": edited_at.isoformat(),
                    }
                    for _ in range(number % 2)
                ),
            ],
        }
        for number in range(1, 1 + QUESTIONS)
    ]
    topics = [{"id": topic, "user_id": LEARNER, "name": f"topic {topic}"} for topic in (1, 2)]
    users = [{"id": LEARNER, "time_zone": "Asia/Seoul"}]
    catalog = {"users": users, "topics": topics, "questions": questions}
    (folder / "catalog.json").write_text(json.dumps(catalog))
    at = START
    uploads = []
    for _ in range(90):
        at += timedelta(hours=rng.choice([1, 5, 13, 30, 70, 200]))
        zone = rng.choice(ZONES)
        attempts = []
        for _ in range(rng.randrange(1, 9)):
            at += timedelta(seconds=rng.choice([0, 20, 20, 3 * 3600]))
            number = rng.randrange(1, 1 + QUESTIONS)
            newer = number % 2 and at >= edited_at and rng.random() < 0.5
            attempts.append(
                {
                    "pub_id": f"q{number:02}.2" if newer else f"q{number:02}",
                    "selected": rng.choice([None, 0, 1, 1, 1, 2] if not newer else [None, 0, 0, 0, 1, 2]),
                    "unsure": rng.random() < 0.2,
                    "answered_at": at.astimezone(zone).isoformat(),
                }
            )
        uuid = str(UUID(int=rng.getrandbits(128), version=4))
        uploads.append(json.dumps({"client_session_uuid": uuid, "attempts": attempts}))
    (folder / "uploads.ndjson").write_text("\n".join(uploads))


def compare(engine: Engine, folder: Path, rng: Random) -> None:
    """Deliver a log three times over, in any order; the oracle must say the same of every question."""
    catalog, uploads = folder / "catalog.json", folder / "uploads.ndjson"
    load(engine, json.loads(catalog.read_text()))
    sent: list[dict[str, Any]] = [json.loads(line) for line in uploads.read_text().splitlines()] * 3
    arrival = max(datetime.fromisoformat(a["answered_at"]) for each in sent for a in each["attempts"])
    for each in rng.sample(sent, len(sent)):
        ingest(engine, each, arrival + timedelta(days=1))
    with engine.connect() as connection:
        printed = "\n".join(json.dumps(line) for line in list_progress(connection, LEARNER))
    expected = oracle.expected(catalog, uploads, LEARNER, DEFAULT_ZONE)
    assert expected
    assert oracle.printed(printed) == expected
    assert sound(engine)


@pytest.mark.parametrize("seed", range(3))
def test_I3_a_made_log_leaves_what_the_oracle_says(engine: Engine, tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    write_log(tmp_path, rng)
    compare(engine, tmp_path, rng)


@pytest.mark.skipif(not LOG, reason="STUDY_INGEST_LOG names no folder with a real log")
@pytest.mark.timeout(600)
def test_I3_a_real_log_leaves_what_the_oracle_says(engine: Engine) -> None:
    compare(engine, Path(LOG or ""), Random(1))
