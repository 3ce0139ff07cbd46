"""What operators look at: the sample learner's weeks, uploads that failed, strings that attack the page."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from cli import sample
from shared.catalog_admin import load_catalog
from shared.health import SWEEPER, beat
from shared.replay import replay
from tests.factories import deliver, question, upload, uuid_of
from tests.factories import load as load_questions

SAMPLE = 42
# A page that does not escape its rows would run this script, which sets the flag `window.hit`.
HOSTILE = """"'><script>window.hit=1</script><img src=x onerror=window.hit=1>{{ 7 * 191 }}"""
# As long as a pub_id may be, with no place to break the line.
LONG = "W" * 200
VICTIM, TOPIC, QUESTION = 7, 70, 700

_MARK_DEAD = text("""
    UPDATE uploads SET status = 'dead', finalized_at = now(), tries = 5, last_error = :error
    WHERE client_session_uuid = :id
""")
_VOID = text(
    "UPDATE study_quiz_sessions SET voided_at = now(), void_reason = :reason WHERE user_id = :user_id"
)


def load(engine: Engine) -> None:
    load_sample(engine)
    _load_hostile(engine)


def load_sample(engine: Engine) -> None:
    with engine.begin() as connection:
        load_catalog(connection, sample.read_catalog())
    for body in [*sample.earlier_uploads(), sample.main_upload()]:
        ingest(engine, json.loads(body))


def main_uuid() -> UUID:
    return uuid_of(json.loads(sample.main_upload()))


def ingest(engine: Engine, sent: dict[str, Any]) -> UUID:
    """Deliver an upload and replay it here, without a worker."""
    now = datetime.now(UTC)
    deliver(engine, sent, now)
    with engine.begin() as connection:
        replay(connection, [uuid_of(sent)], now=now, default_zone="UTC")
    return uuid_of(sent)


def answers(*pub_ids: str, **unknown: Any) -> dict[str, Any]:
    """Make an upload with answers of a minute ago, each with the first choice."""
    at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    said = [{"pub_id": each, "selected": 0, "unsure": False, "answered_at": at} for each in pub_ids]
    return upload(*said, **unknown)


def mark_dead(engine: Engine, sent: dict[str, Any], error: str) -> UUID:
    """Deliver an upload, and mark it as dead, as if its tries were exhausted."""
    deliver(engine, sent, datetime.now(UTC))
    with engine.begin() as connection:
        connection.execute(_MARK_DEAD, {"id": uuid_of(sent), "error": error})
    return uuid_of(sent)


def sweep(engine: Engine) -> None:
    """Write a heartbeat, as if a sweeper ran."""
    with engine.begin() as connection:
        beat(connection, SWEEPER)


def contradict(engine: Engine) -> int:
    """Deliver other content under the uuid of an ingested upload; return the conflict's id."""
    first = answers("geo-capital-canada")
    ingest(engine, first)
    deliver(engine, first | {"attempts": answers("geo-capital-turkey")["attempts"]}, datetime.now(UTC))
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT max(id) FROM upload_conflicts")) or 0)


def _load_hostile(engine: Engine) -> None:
    load_questions(
        engine,
        {
            "users": [{"id": VICTIM, "time_zone": None}],
            "topics": [
                {"id": TOPIC, "user_id": VICTIM, "name": HOSTILE},
                {"id": TOPIC + 1, "user_id": VICTIM, "name": LONG},
            ],
            "questions": [
                question(QUESTION, HOSTILE, user_id=VICTIM, study_topic_id=TOPIC)
                | {"subject": HOSTILE, "choices": [HOSTILE, "b"], "correct_choice": 1},
                question(QUESTION + 1, LONG, user_id=VICTIM, study_topic_id=TOPIC + 1)
                | {"subject": LONG[:120]},
            ],
        },
    )
    ingest(engine, answers(HOSTILE, note=HOSTILE))
    with engine.begin() as connection:
        connection.execute(_VOID, {"user_id": VICTIM, "reason": HOSTILE})
    ingest(engine, answers(HOSTILE, **{HOSTILE: HOSTILE}))
    mark_dead(engine, answers(HOSTILE, note=HOSTILE), HOSTILE)
    ingest(engine, answers(f"nobody's {HOSTILE}"))
