"""Make the catalog equal to a document server's: compare topics by digest, and withdraw questions."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from shared import catalog_admin, db
from shared.catalog_digest import NEW, Digest
from shared.errors import ChangedTopicError
from shared.study.store import lock_learner

# Frequencies and times are written so that Python and Postgres agree on every byte; other values are JSON.
_DIGESTS = """
    WITH page AS (
        SELECT id, jsonb_build_array(id, user_id, name, exam_on) AS line FROM study_topics WHERE {}
    )
    SELECT page.id, count(DISTINCT asked.id), encode(sha256(
        sha256(convert_to(CAST(page.line AS text), 'UTF8'))
        || coalesce(string_agg(asked.hash, '' ORDER BY asked.hash), '')), 'hex')
    FROM page LEFT JOIN LATERAL (
        SELECT q.id, sha256(convert_to(CAST(jsonb_build_array(q.id, q.subject,
            encode(float8send(q.exam_frequency + 0), 'hex'),
            CAST(extract(epoch FROM q.retired_at) * 1000000 AS bigint), i.pub_id, i.choices, i.correct_choice,
            CAST(extract(epoch FROM i.published_at) * 1000000 AS bigint)) AS text), 'UTF8')) AS hash
        FROM study_questions q LEFT JOIN published_items i ON i.source_id = q.id
        WHERE q.study_topic_id = page.id AND (q.retired_at IS NULL OR q.retired_at > :now)
    ) AS asked ON true
    GROUP BY page.id, page.line ORDER BY page.id
"""
_PAGE = text(_DIGESTS.format("id > :after ORDER BY id LIMIT :limit"))
_NAMED = text(_DIGESTS.format("id = ANY(CAST(:ids AS bigint[]))"))


def digests_after(connection: Connection, after: int, *, limit: int, now: datetime) -> list[Digest]:
    """Return the digests of topics with ids above `after`, in order; retired questions do not count.

    A question counts even if its only edition was moved to another question. No file has such a question, so
    a sync withdraws it.
    """
    rows = db.execute(connection, _PAGE, {"after": after, "limit": limit, "now": now})
    return [Digest(*row) for row in rows]


def digests_of(connection: Connection, topic_ids: Iterable[int], *, now: datetime) -> list[Digest]:
    """Return the digests of these topics, as far as they exist."""
    rows = db.execute(connection, _NAMED, {"ids": list(topic_ids), "now": now})
    return [Digest(*row) for row in rows]


def expect(
    connection: Connection, topic_ids: Collection[int], expected: frozenset[str], *, now: datetime
) -> None:
    """Raise ChangedTopicError unless the topics have exactly the digests in `expected`.

    A topic that does not exist has the digest NEW. Until this transaction ends, no other load or withdrawal
    can change the catalog.
    """
    catalog_admin.lock_catalog(connection)
    stored = {each.topic_id: each.digest for each in digests_of(connection, topic_ids, now=now)}
    current = {topic: stored.get(topic, NEW) for topic in topic_ids}
    if changed := [str(topic) for topic, digest in sorted(current.items()) if digest not in expected]:
        raise ChangedTopicError(f"topic {', '.join(changed)}: If-Match does not have the present digest")
    if unknown := expected - {*current.values()}:
        raise ChangedTopicError(
            f"If-Match: no topic of the request has the digest {', '.join(sorted(unknown))}"
        )


class Withdrawn(NamedTuple):
    """How many questions were deleted, and how many were retired.

    A question is retired if it has answers or is in a session in progress.
    """

    deleted: int
    retired: int


_LEARNERS = text("""
    SELECT DISTINCT user_id FROM study_questions WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY user_id
""")

# A session of a former owner may still ask the question.
_DELETE = text("""
    DELETE FROM study_questions q
    WHERE q.id = ANY(CAST(:ids AS bigint[]))
        AND NOT EXISTS (SELECT FROM study_question_attempts a WHERE a.study_question_id = q.id)
        AND NOT EXISTS (SELECT FROM study_quiz_sessions s
            WHERE s.status = 'in_progress' AND s.question_ids @> to_jsonb(q.id))
""")

_RETIRE = text("""
    UPDATE study_questions SET retired_at = :now
    WHERE id = ANY(CAST(:ids AS bigint[])) AND (retired_at IS NULL OR retired_at > :now)
""")

_TOPICS = text("SELECT DISTINCT study_topic_id FROM study_questions WHERE id = ANY(CAST(:ids AS bigint[]))")

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


def topics_of(connection: Connection, question_ids: list[int]) -> list[int]:
    """Return the topics of some questions."""
    return db.scalars(connection, _TOPICS, {"ids": question_ids})


def current_questions(connection: Connection, topic_id: int, *, now: datetime) -> list[int]:
    """Return the ids of a topic's questions that are not retired."""
    return db.scalars(connection, _QUESTIONS, {"topic_id": topic_id, "now": now})


def withdraw(connection: Connection, question_ids: list[int], *, now: datetime) -> Withdrawn:
    """Delete questions, but retire those that have answers or are being asked; ignore unknown ids."""
    catalog_admin.require_ours(connection)
    catalog_admin.lock_catalog(connection)
    for learner in db.scalars(connection, _LEARNERS, {"ids": question_ids}):
        lock_learner(connection, learner)  # a replay could insert attempts meanwhile
    deleted = db.execute(connection, _DELETE, {"ids": question_ids}).rowcount
    return Withdrawn(deleted, db.execute(connection, _RETIRE, {"ids": question_ids, "now": now}).rowcount)


def keep_only(connection: Connection, topic_id: int, kept: Iterable[int], *, now: datetime) -> Withdrawn:
    """Withdraw all questions of a topic except `kept`."""
    current = current_questions(connection, topic_id, now=now)
    return withdraw(connection, sorted({*current} - {*kept}), now=now)


def withdraw_topic(connection: Connection, topic_id: int, *, now: datetime) -> Withdrawn:
    """Withdraw the questions of a topic, and delete the topic unless it has sessions or retired questions."""
    withdrawn = withdraw(connection, current_questions(connection, topic_id, now=now), now=now)
    db.execute(connection, _DELETE_TOPIC, {"topic_id": topic_id})
    return withdrawn
