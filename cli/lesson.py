"""What was learned from an upload."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsrs import Rating
from sqlalchemy import Connection, Row, text

from shared.study.store import list_progress

Progress = dict[str, dict[str, Any]]  # by public id: a line of `study-ingest progress`

_GRADES = text("""
    SELECT a.ordinal, a.outcome, a.rating
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE s.client_session_uuid = :uuid AND s.superseded_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class Lesson:
    """An upload's result, its attempts' grades in words, and its learner's progress before and after."""

    result: Mapping[str, Any]
    grades: Mapping[int, str]
    before: Progress
    after: Progress

    @property
    def counted(self) -> list[str]:
        """List the questions whose progress the upload moves."""
        return [each["pub_id"] for each in self.result["attempts"] if each["status"] == "counted"]

    @property
    def advanced(self) -> dict[str, int]:
        """Return by how many reviews each question advanced whose progress is not what it was."""
        return {
            pub_id: now["reviews"] - self.before.get(pub_id, {"reviews": 0})["reviews"]
            for pub_id, now in self.after.items()
            if now != self.before.get(pub_id)
        }


def read_progress(connection: Connection, user_id: int) -> Progress:
    """Return what is known of a learner."""
    return {line["pub_id"]: line for line in list_progress(connection, user_id)}


def read_grades(connection: Connection, uuid: str) -> dict[int, str]:
    """Return the outcome of each attempt of an upload, by its place there."""
    return {row.ordinal: _in_words(row) for row in connection.execute(_GRADES, {"uuid": uuid})}


def _in_words(row: Row[Any]) -> str:
    unsure_but_right = row.outcome == "unsure" and row.rating != Rating.Again
    return "unsure, but right" if unsure_but_right else str(row.outcome)
