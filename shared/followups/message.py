"""What a receiver is told: ids only, never an answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

# A question is named by its first public id, whichever of them the learner met.
_LOOK = text("""
    SELECT f.id, f.kind, f.tries, f.created_at, s.id AS session_id, s.user_id, s.study_topic_id,
        s.voided_at IS NOT NULL AS voided,
        CASE f.kind WHEN 'explain_misses' THEN ARRAY(
            SELECT i.pub_id FROM study_question_attempts a
            JOIN study_question_progress p
                ON p.user_id = s.user_id AND p.study_question_id = a.study_question_id
            JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
                WHERE source_id = a.study_question_id) i ON i.pub_id IS NOT NULL
            WHERE a.study_quiz_session_id = s.id AND a.counted AND p.wrong_note = 'open'
            ORDER BY a.ordinal) END AS pub_ids
    FROM study_followups f JOIN study_quiz_sessions s ON s.id = f.study_quiz_session_id
    WHERE f.id = ANY(CAST(:ids AS uuid[]))
""")


@dataclass(frozen=True, slots=True)
class Message:
    """A follow-up or a notice as it stands; `told` is what the receiver learns."""

    id: UUID
    kind: str
    tries: int
    created_at: datetime
    told: Mapping[str, Any]
    voided: bool = False

    def body(self) -> bytes:
        """Compose the body, in the form that Standard Webhooks recommends."""
        body = {"type": self.kind, "timestamp": self.created_at.isoformat(), "data": self.told}
        return json.dumps(body).encode()


def look(connection: Connection, followups: Sequence[UUID]) -> list[Message]:
    """Load what is to be told of some follow-ups, as of now."""
    rows = connection.execute(_LOOK, {"ids": followups})
    return [Message(row.id, row.kind, row.tries, row.created_at, _told(row), row.voided) for row in rows]


def _told(row: Row[Any]) -> dict[str, Any]:
    """Name the session and, of one with misses, the questions whose note is open now."""
    told = {name: getattr(row, name) for name in ("session_id", "user_id", "study_topic_id")}
    return told if row.pub_ids is None else told | {"pub_ids": row.pub_ids}
