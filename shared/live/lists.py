"""A learner's lists: topics, past sessions, due reviews, progress, wrong notes and weak areas."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, Field
from sqlalchemy import Connection, text

from shared.db import execute
from shared.live import sessions
from shared.live.forms import BIGINT, STORABLE
from shared.payload import MAX_PUB_ID
from shared.study.progress import CHRONIC_AFTER
from shared.study.scheduling import Memory, retrievability
from shared.study.store import COUNTS, SHOWN_DUE, list_progress, today_of

_Id = Annotated[int, Field(ge=0, lt=BIGINT)]


class SessionCursor(NamedTuple):
    """The last session of a page: the next page begins after it. The newest ids come first."""

    session_id: _Id


class ReviewCursor(NamedTuple):
    """The last item of a page of due reviews; the longest overdue come first."""

    due: date
    question_id: _Id


class NoteCursor(NamedTuple):
    """The last item of a page of wrong notes; the most recently opened come first."""

    opened_at: AwareDatetime
    question_id: _Id


class ProgressCursor(NamedTuple):
    """The last item of a page of progress; public ids are ordered by their bytes."""

    pub_id: Annotated[str, Field(max_length=MAX_PUB_ID, pattern=STORABLE)]


# The cursors before the first item of each list.
BEFORE_SESSIONS = SessionCursor(BIGINT - 1)
BEFORE_REVIEWS = ReviewCursor(date.min, 0)
BEFORE_PROGRESS = ProgressCursor("")
BEFORE_NOTES = NoteCursor(datetime.max.replace(tzinfo=UTC), BIGINT - 1)


class Topic(NamedTuple):
    """A topic's id and name."""

    id: int
    name: str


_TOPICS = text("SELECT id, name FROM study_topics WHERE user_id = :user_id ORDER BY name, id")


def list_topics(connection: Connection, user_id: int) -> list[Topic]:
    """List a learner's topics, in the order of their names."""
    return [Topic(*row) for row in execute(connection, _TOPICS, {"user_id": user_id})]


_PAST = text(f"""
    SELECT id AS session_id, study_topic_id, status, source, quiz_mode, created_at, finished_at, voided_at,
        {", ".join(COUNTS)}
    FROM study_quiz_sessions
    WHERE user_id = :user_id AND status <> 'in_progress' AND id < :session_id
    ORDER BY id DESC LIMIT :limit
""")  # noqa: S608  # made of the constants above


def past_sessions(
    connection: Connection, user_id: int, *, after: SessionCursor, limit: int
) -> list[tuple[SessionCursor, dict[str, Any]]]:
    """List a learner's closed sessions, void ones too, the newest id first, each with its cursor.

    A live session gets its id when it starts, an uploaded one when it is replayed.
    """
    sessions.require_learner(connection, user_id)
    rows = execute(connection, _PAST, after._asdict() | {"user_id": user_id, "limit": limit})
    return [(SessionCursor(row.session_id), sessions.with_snapshot(row._asdict())) for row in rows]


# Due reviews and wrong notes leave out what belongs to another learner now; the list of progress and
# `shared.changes` show all that is stored.

# `near` is found by index: questions that are due, and all questions of topics with an exam before :before.
_DUE = text(f"""
    WITH near (question_id) AS (
        SELECT study_question_id FROM study_question_progress WHERE user_id = :user_id AND due < :before
        UNION
        SELECT q.id FROM study_topics t
        JOIN study_questions q ON q.study_topic_id = t.id AND q.user_id = t.user_id
        WHERE t.user_id = :user_id AND t.exam_on >= :today AND t.exam_on < :before
    ), shown AS (
        SELECT q.id, e.pub_id, q.study_topic_id, q.subject, {SHOWN_DUE} AS due, p.last_answered_at, p.reviews,
            p.misses
        FROM near
        JOIN study_question_progress p ON p.study_question_id = near.question_id AND p.user_id = :user_id
        JOIN study_questions q ON q.id = p.study_question_id AND q.user_id = p.user_id
        JOIN study_topics t ON t.id = q.study_topic_id
        JOIN current_editions e ON e.source_id = q.id
        WHERE q.retired_at IS NULL OR q.retired_at > :now
    )
    SELECT * FROM shown WHERE due < :before AND (due, id) > (:due, :question_id) ORDER BY due, id LIMIT :limit
""")  # noqa: S608  # made of the constant above


def due_reviews(  # noqa: PLR0913  # the learner, the page and the time
    connection: Connection,
    user_id: int,
    *,
    before: date | None,
    after: ReviewCursor,
    limit: int,
    now: datetime,
    default_zone: str,
) -> list[tuple[ReviewCursor, dict[str, Any]]]:
    """List the questions due before a study date, the longest overdue first, each with its cursor.

    `before`: that date; None means tomorrow.
    """
    sessions.require_learner(connection, user_id)
    today = today_of(connection, user_id, now=now, default_zone=default_zone)
    as_of = {"before": before or today + timedelta(days=1), "today": today, "now": now}
    rows = execute(connection, _DUE, after._asdict() | as_of | {"user_id": user_id, "limit": limit})
    return [(ReviewCursor(row.due, row.id), _without_id(row)) for row in rows]


def progress(
    connection: Connection, user_id: int, *, after: ProgressCursor, limit: int
) -> list[tuple[ProgressCursor, dict[str, Any]]]:
    """List a learner's progress, one item for each question, each with its cursor."""
    sessions.require_learner(connection, user_id)
    lines = list_progress(connection, user_id, after=after.pub_id, limit=limit)
    return [(ProgressCursor(line["pub_id"]), line) for line in lines]


NoteState = Literal["open", "closed"]

_NOTES = text(f"""
    SELECT q.id, e.pub_id, q.study_topic_id, q.subject, coalesce(q.retired_at <= :now, false) AS retired,
        p.note_opened_at AS opened_at, p.note_closed_at AS closed_at, p.misses, p.miss_streak,
        {SHOWN_DUE} AS due
    FROM study_question_progress p
    JOIN study_questions q ON q.id = p.study_question_id AND q.user_id = p.user_id
    JOIN study_topics t ON t.id = q.study_topic_id
    JOIN current_editions e ON e.source_id = q.id
    WHERE p.user_id = :user_id AND p.wrong_note = :state
        AND (p.note_opened_at, q.id) < (:opened_at, :question_id)
    ORDER BY p.note_opened_at DESC, q.id DESC LIMIT :limit
""")  # noqa: S608  # made of the constant above


def wrong_notes(  # noqa: PLR0913  # the learner, the page and the time
    connection: Connection,
    user_id: int,
    *,
    state: NoteState,
    after: NoteCursor,
    limit: int,
    now: datetime,
    default_zone: str,
) -> list[tuple[NoteCursor, dict[str, Any]]]:
    """List a learner's wrong notes of one state, the most recently opened first, each with its cursor."""
    sessions.require_learner(connection, user_id)
    as_of = {"today": today_of(connection, user_id, now=now, default_zone=default_zone), "now": now}
    page = after._asdict() | {"user_id": user_id, "state": state, "limit": limit}
    rows = execute(connection, _NOTES, page | as_of)
    return [(NoteCursor(row.opened_at, row.id), _without_id(row)) for row in rows]


def _without_id(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row._asdict().items() if name != "id"}


# A question that is withdrawn can no longer be learned.
_ANSWERED = text("""
    SELECT q.subject, e.pub_id, p.reviews, p.misses, p.miss_streak, p.stability, p.difficulty,
        p.last_study_date
    FROM study_question_progress p
    JOIN study_questions q ON q.id = p.study_question_id
    JOIN current_editions e ON e.source_id = q.id
    WHERE p.user_id = :user_id AND q.study_topic_id = :topic_id
        AND (q.retired_at IS NULL OR q.retired_at > :now)
    ORDER BY e.pub_id COLLATE "C"
""")


def weak_areas(
    connection: Connection, user_id: int, topic_id: int, *, now: datetime, default_zone: str
) -> list[dict[str, Any]]:
    """Return the learner's results in each answered subject of a topic, the least accurate subject first."""
    sessions.require_learner(connection, user_id)
    sessions.require_topic(connection, user_id, topic_id)
    today = today_of(connection, user_id, now=now, default_zone=default_zone)
    subjects = defaultdict(list)
    for row in execute(connection, _ANSWERED, {"user_id": user_id, "topic_id": topic_id, "now": now}):
        subjects[row.subject].append(row)
    areas = []
    for subject, rows in subjects.items():
        reviews, misses = sum(row.reviews for row in rows), sum(row.misses for row in rows)
        recalls = [
            retrievability(Memory(row.stability, row.difficulty), row.last_study_date, today) for row in rows
        ]
        areas.append(
            {
                "subject": subject,
                "questions": len(rows),
                "reviews": reviews,
                "misses": misses,
                "accuracy": 1 - misses / reviews,
                "chronic": [row.pub_id for row in rows if row.miss_streak > CHRONIC_AFTER],
                "mean_retrievability": sum(recalls) / len(recalls),
            }
        )
    return sorted(areas, key=lambda area: (area["accuracy"], area["subject"]))
