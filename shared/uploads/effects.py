"""What an ingested upload did to the questions that it counts for, by the log as it is today."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from shared.study.progress import Reviewed, folded
from shared.study.store import learner_zone, other_reviews

_COUNTED = text("""
    SELECT s.user_id, a.study_question_id, i.pub_id, a.answered_at
    FROM study_question_attempts a
    JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = a.study_question_id) i ON TRUE
    WHERE s.client_session_uuid = :uuid AND a.counted AND s.voided_at IS NULL ORDER BY a.ordinal
""")


class Effect(NamedTuple):
    """A question's review by an upload, and how many reviews it has had in all."""

    pub_id: str
    reviewed: Reviewed
    reviews: int


def effects(connection: Connection, client_session_uuid: UUID, default_zone: str) -> list[Effect]:
    """List the reviews that an upload made; none while it is not ingested, or is void."""
    rows = list(connection.execute(_COUNTED, {"uuid": str(client_session_uuid)}))
    return list(_effects(connection, rows, default_zone)) if rows else []


def _effects(connection: Connection, rows: list[Any], default_zone: str) -> Iterator[Effect]:
    learner = rows[0].user_id
    zone = learner_zone(connection, learner, default_zone)
    reviews = other_reviews(connection, learner, [], [row.study_question_id for row in rows])
    for row in rows:
        history = list(folded(reviews[row.study_question_id], zone))
        own = [each for each in history if each.review.answered_at == row.answered_at]
        yield from (Effect(row.pub_id, each, len(history)) for each in own[:1])
