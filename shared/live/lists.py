"""The weak areas of a topic, subject by subject: computed when they are asked for."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field
from sqlalchemy import Connection, text

from shared.db import execute
from shared.live.forms import BIGINT
from shared.live.sessions import COUNTS, require_learner, require_topic, with_snapshot
from shared.study.progress import CHRONIC_AFTER
from shared.study.scheduling import Memory, retrievability, study_day
from shared.study.store import learner_zone

_Id = Annotated[int, Field(ge=0, lt=BIGINT)]


class SessionPlace(NamedTuple):
    """A place among past sessions, newest first."""

    session_id: _Id


class ReviewPlace(NamedTuple):
    """A place among due reviews, longest due first."""

    due: date
    question_id: _Id


class NotePlace(NamedTuple):
    """A place among wrong notes, last opened first."""

    opened_at: AwareDatetime
    question_id: _Id


# Before the first of each list.
BEFORE_SESSIONS = SessionPlace(BIGINT - 1)
BEFORE_REVIEWS = ReviewPlace(date.min, 0)
BEFORE_NOTES = NotePlace(datetime.max.replace(tzinfo=UTC), BIGINT - 1)

_DUE = text("""
    SELECT q.id, i.pub_id, q.study_topic_id, q.subject, p.due, p.last_reviewed_at, p.reviews, p.misses
    FROM study_question_progress p
    JOIN study_questions q ON q.id = p.study_question_id
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = q.id HAVING count(*) > 0) i ON TRUE
    WHERE p.user_id = :user_id AND p.due < :before AND (p.due, q.id) > (:due, :question_id)
        AND q.retired_at IS NULL
    ORDER BY p.due, q.id LIMIT :limit
""")


def due_reviews(
    connection: Connection, user_id: int, *, before: date, after: ReviewPlace, limit: int
) -> list[tuple[ReviewPlace, dict[str, Any]]]:
    """List the questions due before a study day, longest due first, each with its place."""
    require_learner(connection, user_id)
    bound = after._asdict() | {"user_id": user_id, "before": before, "limit": limit}
    return [
        (
            ReviewPlace(row.due, row.id),
            {name: value for name, value in row._asdict().items() if name != "id"},
        )
        for row in execute(connection, _DUE, bound)
    ]


def tomorrow(connection: Connection, user_id: int, *, now: datetime, default_zone: str) -> date:
    """Return the study day after the learner's present one: what is due today is due before it."""
    require_learner(connection, user_id)
    return study_day(now, learner_zone(connection, user_id, default_zone)) + timedelta(days=1)


_PAST = text(f"""
    SELECT id AS session_id, study_topic_id, status, source, quiz_mode, created_at, finished_at, voided_at,
        {", ".join(COUNTS)}
    FROM study_quiz_sessions
    WHERE user_id = :user_id AND status <> 'in_progress' AND id < :session_id
    ORDER BY id DESC LIMIT :limit
""")  # noqa: S608  # made of the constants above


def past_sessions(
    connection: Connection, user_id: int, *, after: SessionPlace, limit: int
) -> list[tuple[SessionPlace, dict[str, Any]]]:
    """List closed sessions, the last recorded first, each with its place."""
    require_learner(connection, user_id)
    rows = execute(connection, _PAST, after._asdict() | {"user_id": user_id, "limit": limit})
    return [(SessionPlace(row.session_id), with_snapshot(row._asdict())) for row in rows]


_TOPICS = text("SELECT id, name FROM study_topics WHERE user_id = :user_id ORDER BY name, id")


class Topic(NamedTuple):
    """A topic's id and name."""

    id: int
    name: str


def list_topics(connection: Connection, user_id: int) -> list[Topic]:
    """List a learner's topics by name."""
    return [Topic(*row) for row in execute(connection, _TOPICS, {"user_id": user_id})]


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
        (
            NotePlace(row.opened_at, row.id),
            {name: value for name, value in row._asdict().items() if name != "id"},
        )
        for row in execute(connection, _NOTES, bound)
    ]


# A question that is withdrawn can no longer be learned.
_REVIEWED = text("""
    SELECT q.subject, i.pub_id, p.reviews, p.misses, p.miss_streak, p.stability, p.difficulty,
        p.last_reviewed_at
    FROM study_question_progress p
    JOIN study_questions q ON q.id = p.study_question_id
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = q.id HAVING count(*) > 0) i ON TRUE
    WHERE p.user_id = :user_id AND q.study_topic_id = :topic_id AND q.retired_at IS NULL
    ORDER BY i.pub_id COLLATE "C"
""")


def weak_areas(
    connection: Connection, user_id: int, topic_id: int, *, now: datetime, default_zone: str
) -> list[dict[str, Any]]:
    """Return what is known of each subject that was answered, the weakest first."""
    require_learner(connection, user_id)
    require_topic(connection, user_id, topic_id)
    zone = learner_zone(connection, user_id, default_zone)
    subjects = defaultdict(list)
    for row in execute(connection, _REVIEWED, {"user_id": user_id, "topic_id": topic_id}):
        subjects[row.subject].append(row)
    areas = [_area(subject, rows, now, zone) for subject, rows in subjects.items()]
    return sorted(areas, key=lambda area: (area["accuracy"], area["subject"]))


def _area(subject: str, rows: Sequence[Any], now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    reviews, misses = sum(row.reviews for row in rows), sum(row.misses for row in rows)
    recalls = [
        retrievability(Memory(row.stability, row.difficulty), row.last_reviewed_at, now, zone) for row in rows
    ]
    return {
        "subject": subject,
        "questions": len(rows),
        "reviews": reviews,
        "misses": misses,
        "accuracy": 1 - misses / reviews,
        "chronic": [row.pub_id for row in rows if row.miss_streak > CHRONIC_AFTER],
        "mean_retrievability": sum(recalls) / len(recalls),
    }
