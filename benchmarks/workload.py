"""Make learners, questions and uploads; an upload has 20 attempts over three topics."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from shared.replay import replay

LEARNERS = 500
TOPICS = 3
QUESTIONS = 30
ATTEMPTS = 20

A_DAY_S = 86_400.0
START = datetime(2025, 1, 1, 8, tzinfo=UTC)

_CATALOG = [
    text("INSERT INTO users (id) SELECT generate_series(1, CAST(:learners AS int))"),
    text("""
        INSERT INTO study_topics (id, user_id, name) SELECT learner * :topics + n, learner, 'topic ' || n
        FROM generate_series(1, CAST(:learners AS int)) learner, generate_series(0, :topics - 1) n
    """),
    text("""
        INSERT INTO study_questions (id, user_id, study_topic_id, subject)
        SELECT learner * :questions + n, learner, learner * :topics + n % :topics, 'subject ' || n % 2
        FROM generate_series(1, CAST(:learners AS int)) learner, generate_series(0, :questions - 1) n
    """),
    text("""
        INSERT INTO published_items (pub_id, source_id, choices, correct_choice)
        SELECT 'q-' || user_id || '-' || id % :questions, id, '["a", "b", "c", "d"]', id % :questions % 4
        FROM study_questions
    """),
    text("ANALYZE"),
]

# Each upload begins ten questions after the first question of the upload before: half of its questions
# were asked before.
_UPLOADS = text("""
    INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, next_try_at)
    SELECT id, jsonb_build_object('client_session_uuid', id, 'attempts', attempts),
        'made', now(), now() + make_interval(secs => :due_in)
    FROM (
        SELECT gen_random_uuid() AS id, learner, number
        FROM unnest(CAST(:learners AS int[])) learner,
            unnest(CAST(:numbers AS int[])) number
    ) made, LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
            'pub_id', 'q-' || learner || '-' || (number * 10 + question) % :questions,
            'selected', ((number * 10 + question) % :questions + CAST((number + i) % 4 = 0 AS int)) % 4,
            'unsure', (number + i) % 7 = 0,
            'answered_at', timestamptz '2025-01-01 08:00Z' + number * interval '1 day' + i * interval '40 s'
        ) ORDER BY i) AS attempts FROM (
            SELECT question, place - 1 AS i
            FROM unnest(CAST(:asked AS int[])) WITH ORDINALITY AS asked (question, place)) attempt
    ) answered
    ORDER BY number, learner
    RETURNING client_session_uuid
""")


_MISSING = text("""
    SELECT count(*) FILTER (WHERE status <> 'ingested'),
        count(*) * :attempts - (SELECT count(*) FROM uploads u
            JOIN study_quiz_sessions s ON s.client_session_uuid = CAST(u.client_session_uuid AS text)
            JOIN study_question_attempts a ON a.user_id = s.user_id AND a.study_quiz_session_id = s.id)
    FROM uploads
""")


class UnfinishedError(Exception):
    """Some uploads were not replayed, so the measured speed means nothing."""


def make_catalog(connection: Connection, learners: int = LEARNERS, questions: int = QUESTIONS) -> None:
    """Make learners 1 to `learners`, with three topics and `questions` questions each."""
    bound = {"learners": learners, "topics": TOPICS, "questions": questions}
    for statement in _CATALOG:
        connection.execute(statement, {name: bound[name] for name in statement.compile().params})


def make_uploads(
    connection: Connection,
    learners: range,
    numbers: Sequence[int],
    *,
    asked: Sequence[int] = range(ATTEMPTS),
    due_in: float = A_DAY_S,
) -> list[UUID]:
    """Make waiting uploads: for each of `numbers`, one upload of each learner, in this order.

    `asked`: the question of each attempt, counted from the upload's first question, 0; a repeated question is
    practice. `due_in`: seconds until the sweeper enqueues the uploads.
    """
    bound = {
        "learners": list(learners),
        "numbers": list(numbers),
        "asked": list(asked),
        "questions": QUESTIONS,
        "due_in": due_in,
    }
    return list(connection.execute(_UPLOADS, bound).scalars())


def replay_all(engine: Engine, uploads: Sequence[UUID], together: int = 1) -> None:
    """Replay uploads, `together` in one transaction."""
    for first in range(0, len(uploads), together):
        some = uploads[first : first + together]
        with engine.begin() as connection:
            replay(connection, some, now=datetime.now(UTC), default_zone="UTC")


def upload_id(number: int) -> UUID:
    """Return the uuid of upload `number`, in version 4 as a viewer's."""
    return UUID(int=number << 80 | number, version=4)


def body(number: int) -> bytes:
    """Make the body of upload `number`: the first of each learner, then the second of each, and so on."""
    sitting, learner = divmod(number, LEARNERS)
    attempts = [
        {
            "pub_id": f"q-{learner + 1}-{(sitting * 10 + i) % QUESTIONS}",
            "selected": (sitting + i) % 4,
            "unsure": (sitting + i) % 7 == 0,
            "answered_at": (START + timedelta(days=sitting, seconds=40 * i)).isoformat(),
        }
        for i in range(ATTEMPTS)
    ]
    return json.dumps({"client_session_uuid": str(upload_id(number)), "attempts": attempts}).encode()


def check_replayed(engine: Engine) -> None:
    """Raise UnfinishedError unless every upload is ingested, with all its attempts."""
    with engine.connect() as connection:
        missing = tuple(connection.execute(_MISSING, {"attempts": ATTEMPTS}).one())
    if any(missing):
        raise UnfinishedError(f"uploads that are not ingested, and attempts that are missing: {missing}")
