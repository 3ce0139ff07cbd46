"""The questions of a topic that may be asked: published, not withdrawn, and as wished."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, text

from shared.live.choice import Candidate
from shared.live.forms import SessionStart
from shared.study.scheduling import Memory, retrievability

_CANDIDATES = text("""
    SELECT q.id, q.subject, q.exam_frequency, p.misses, p.stability, p.difficulty, p.last_reviewed_at
    FROM study_questions q
    LEFT JOIN study_question_progress p ON p.study_question_id = q.id AND p.user_id = q.user_id
    WHERE q.study_topic_id = :study_topic_id AND q.user_id = :user_id AND q.retired_at IS NULL
        AND EXISTS (SELECT FROM published_items i WHERE i.source_id = q.id)
        AND q.subject = coalesce(CAST(:subject_filter AS text), q.subject)
        AND (p.wrong_note = 'open' OR NOT :wrong_only)
    ORDER BY q.id
""")


def load_candidates(
    connection: Connection, user_id: int, wish: SessionStart, *, now: datetime, zone: ZoneInfo
) -> list[Candidate]:
    """Load them, with what is known of each at `now`."""
    rows = connection.execute(_CANDIDATES, wish.model_dump() | {"user_id": user_id})
    return [
        Candidate(row.id, row.subject, row.exam_frequency, row.misses or 0, _recall(row, now, zone))
        for row in rows
    ]


def _recall(row: Row[Any], now: datetime, zone: ZoneInfo) -> float:
    if row.last_reviewed_at is None:
        return 0.0
    return retrievability(Memory(row.stability, row.difficulty), row.last_reviewed_at, now, zone)
