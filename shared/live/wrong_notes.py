"""The wrong notes of a learner: what to look at again, and what was mended."""

from typing import Any, Literal

from sqlalchemy import Connection, text

from shared.live.learner import require_learner
from shared.live.places import NotePlace

NoteState = Literal["open", "closed"]

_NOTES = text("""
    SELECT q.id, i.pub_id, q.study_topic_id, q.subject, q.retired_at IS NOT NULL AS retired,
        p.note_opened_at AS opened_at, p.note_closed_at AS closed_at, p.misses, p.miss_streak, p.due
    FROM study_question_progress p
    JOIN study_questions q ON q.id = p.study_question_id
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = q.id HAVING count(*) > 0) i ON TRUE
    WHERE p.user_id = :user_id AND p.wrong_note = :state
        AND (p.note_opened_at, q.id) < (:opened_at, :question_id)
    ORDER BY p.note_opened_at DESC, q.id DESC LIMIT :limit
""")


def wrong_notes(
    connection: Connection, user_id: int, *, state: NoteState, after: NotePlace, limit: int
) -> list[tuple[NotePlace, dict[str, Any]]]:
    """List the notes of one state, last opened first, each with its place."""
    require_learner(connection, user_id)
    bound = after._asdict() | {"user_id": user_id, "state": state, "limit": limit}
    return [
        (NotePlace(row["opened_at"], row["id"]), {name: value for name, value in row.items() if name != "id"})
        for row in connection.execute(_NOTES, bound).mappings()
    ]
