"""Look up the editions that public ids name."""

from collections.abc import Iterable

from sqlalchemy import Connection, text

from shared.db import execute
from shared.plan import Question

_QUESTIONS = text("""
    SELECT i.pub_id, q.id, q.user_id, q.study_topic_id, q.subject,
        jsonb_array_length(i.choices) AS choice_count, i.correct_choice, i.published_at
    FROM published_items i JOIN study_questions q ON q.id = i.source_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[]))
""")


def resolve(connection: Connection, pub_ids: Iterable[str]) -> dict[str, Question]:
    """Map each known public id to its question in that edition.

    Called under the learner's lock, so that no key changes between this and the writes that follow.
    """
    rows = execute(connection, _QUESTIONS, {"pub_ids": list(pub_ids)})
    return {pub_id: Question(*question) for pub_id, *question in rows}
