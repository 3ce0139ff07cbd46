"""What a receiver is told: ids only, never an answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

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
    """A follow-up as it stands; `pub_ids` are the questions of the session whose note is open now."""

    id: UUID
    kind: str
    tries: int
    created_at: datetime
    session_id: int
    user_id: int
    study_topic_id: int
    voided: bool
    pub_ids: list[str] | None

    def body(self) -> bytes:
        """Compose the body, in the form that Standard Webhooks recommends."""
        told = {name: getattr(self, name) for name in ("session_id", "user_id", "study_topic_id")}
        if self.pub_ids is not None:
            told["pub_ids"] = self.pub_ids
        body = {"type": self.kind, "timestamp": self.created_at.isoformat(), "data": told}
        return json.dumps(body).encode()


def look(connection: Connection, followups: Sequence[UUID]) -> list[Message]:
    """Load what is to be told of some follow-ups, as of now."""
    return [Message(*row) for row in connection.execute(_LOOK, {"ids": followups})]
