"""Make the catalog equal to a document server's: compare topics by digest, and withdraw questions."""

import hashlib
import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from shared import db
from shared.catalog_admin import CatalogFile, CatalogTopic, require_ours
from shared.study.store import lock_learner


class Digest(NamedTuple):
    """A topic, its number of questions, and a hash of topic and questions."""

    topic_id: int
    questions: int
    digest: str


# A number and a time are written so that Python and Postgres agree on every byte; text as JSON.
_DIGESTS = text("""
    WITH page AS (
        SELECT id, jsonb_build_array(id, user_id, name, exam_on) AS line FROM study_topics
        WHERE id > :after ORDER BY id LIMIT :limit
    ), edition AS (
        SELECT i.source_id, jsonb_agg(
            jsonb_build_array(i.pub_id, i.choices, i.correct_choice,
                CAST(extract(epoch FROM i.published_at) * 1000000 AS bigint))
            ORDER BY i.pub_id COLLATE "C") AS lines
        FROM page JOIN study_questions q ON q.study_topic_id = page.id
        JOIN published_items i ON i.source_id = q.id GROUP BY i.source_id
    ), question AS (
        SELECT q.study_topic_id, q.id, jsonb_build_array(q.id, q.subject,
            encode(float8send(q.exam_frequency), 'hex'),
            CAST(extract(epoch FROM q.retired_at) * 1000000 AS bigint), e.lines) AS line
        FROM page JOIN study_questions q ON q.study_topic_id = page.id JOIN edition e ON e.source_id = q.id
        WHERE q.retired_at IS NULL OR q.retired_at > :now
    )
    SELECT page.id, count(question.id), encode(sha256(convert_to(
        concat_ws(E'\\n', page.line, string_agg(CAST(question.line AS text), E'\\n' ORDER BY question.id)),
        'UTF8')), 'hex')
    FROM page LEFT JOIN question ON question.study_topic_id = page.id
    GROUP BY page.id, page.line ORDER BY page.id
""")


def stored_digests(connection: Connection, *, after: int, limit: int, now: datetime) -> list[Digest]:
    """Return the digests of the topics after an id, in the order of ids; retired questions do not count."""
    rows = db.execute(connection, _DIGESTS, {"after": after, "limit": limit, "now": now})
    return [Digest(*row) for row in rows]


def digests(catalog: CatalogFile, *, now: datetime) -> dict[int, Digest]:
    """Return the digests of a catalog's topics: those that `stored_digests` returns for equal rows."""
    lines: dict[int, dict[int, list[Any]]] = {topic.id: {} for topic in catalog.topics}
    for question in catalog.questions:
        if question.study_topic_id in lines and (question.retired_at is None or question.retired_at > now):
            line = lines[question.study_topic_id].setdefault(question.id, [question, []])
            line[1] += question.editions
    return {topic.id: _digest(topic, lines[topic.id]) for topic in catalog.topics}


def _digest(topic: CatalogTopic, questions: Mapping[int, list[Any]]) -> Digest:
    exam_on = topic.exam_on and topic.exam_on.isoformat()
    lines = [_line([topic.id, topic.user_id, topic.name, exam_on])]
    for _, (question, editions) in sorted(questions.items()):
        frequency = question.exam_frequency
        line = [
            question.id,
            question.subject,
            None if frequency is None else struct.pack(">d", frequency).hex(),
            _microseconds(question.retired_at),
            sorted([e.pub_id, e.choices, e.correct_choice, _microseconds(e.published_at)] for e in editions),
        ]
        lines.append(_line(line))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Digest(topic.id, len(questions), digest)


def _line(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _microseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class Withdrawn(NamedTuple):
    """How many questions were deleted, and how many retired because they are answered or being asked."""

    deleted: int
    retired: int


_LEARNERS = text("""
    SELECT DISTINCT user_id FROM study_questions WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY user_id
""")

_DELETE = text("""
    DELETE FROM study_questions q
    WHERE q.id = ANY(CAST(:ids AS bigint[]))
        AND NOT EXISTS (SELECT FROM study_question_attempts a WHERE a.study_question_id = q.id)
        AND NOT EXISTS (SELECT FROM study_quiz_sessions s
            WHERE s.user_id = q.user_id AND s.study_topic_id = q.study_topic_id
                AND s.status = 'in_progress' AND s.question_ids @> to_jsonb(q.id))
""")

_RETIRE = text("""
    UPDATE study_questions SET retired_at = :now
    WHERE id = ANY(CAST(:ids AS bigint[])) AND (retired_at IS NULL OR retired_at > :now)
""")

_QUESTIONS = text("""
    SELECT id FROM study_questions
    WHERE study_topic_id = :topic_id AND (retired_at IS NULL OR retired_at > :now)
    ORDER BY id
""")

_DELETE_TOPIC = text("""
    DELETE FROM study_topics t WHERE t.id = :topic_id
        AND NOT EXISTS (SELECT FROM study_questions q WHERE q.study_topic_id = t.id)
        AND NOT EXISTS (SELECT FROM study_quiz_sessions s WHERE s.study_topic_id = t.id)
""")


def asked_questions(connection: Connection, topic_id: int, *, now: datetime) -> list[int]:
    """Return the questions of a topic that are not retired."""
    return db.scalars(connection, _QUESTIONS, {"topic_id": topic_id, "now": now})


def withdraw(connection: Connection, question_ids: list[int], *, now: datetime) -> Withdrawn:
    """Delete questions that nobody has answered, and retire the others; unknown ones are no error."""
    require_ours(connection)
    for learner in db.scalars(connection, _LEARNERS, {"ids": question_ids}):
        lock_learner(connection, learner)  # a replay could answer one meanwhile
    deleted = db.execute(connection, _DELETE, {"ids": question_ids}).rowcount
    return Withdrawn(deleted, db.execute(connection, _RETIRE, {"ids": question_ids, "now": now}).rowcount)


def withdraw_topic(connection: Connection, topic_id: int, *, now: datetime) -> Withdrawn:
    """Withdraw the questions of a topic, and delete it unless it has sessions or answered questions."""
    withdrawn = withdraw(connection, asked_questions(connection, topic_id, now=now), now=now)
    db.execute(connection, _DELETE_TOPIC, {"topic_id": topic_id})
    return withdrawn
