"""All SQL of the engine: learners, attempts as reviews, progress, and the close of a session."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from fsrs import Rating
from sqlalchemy import Connection, text

from shared import db
from shared.study.grading import Outcome, study_date
from shared.study.progress import SCHEDULER, Cached, Counts, Progress, Review, WrongNote

# The default is the database's, where there is one: see `shared/data_settings.py`.
_ZONES = "time_zone, (SELECT value FROM data_settings WHERE name = 'study_time_zone') AS default_zone"
_OF_LEARNER = f"SELECT {_ZONES} FROM users WHERE id = :user_id"  # noqa: S608  # made of the constant above
# A document server's own row is not locked: it need not wait for us, and our role may only read it.
_NUMBER = "hashint8extended(CAST(:user_id AS bigint), 7319400453)"
# By whether the catalog is ours, and whether to wait.
_LOCKS = {
    (True, True): text(f"{_OF_LEARNER} FOR NO KEY UPDATE"),
    (True, False): text(f"{_OF_LEARNER} FOR NO KEY UPDATE SKIP LOCKED"),
    (False, True): text(_OF_LEARNER.replace(" FROM users", f", pg_advisory_xact_lock({_NUMBER}) FROM users")),
    (False, False): text(f"{_OF_LEARNER} AND pg_try_advisory_xact_lock({_NUMBER})"),
}
# No row where the questions have several owners: such an upload is rejected.
_OWNER = text("""
    SELECT min(q.user_id) FROM published_items i JOIN study_questions q ON q.id = i.source_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[])) HAVING min(q.user_id) = max(q.user_id)
""")
_ZONE = text(_OF_LEARNER)


@dataclass(frozen=True, slots=True)
class Learner:
    """A locked learner, and the learner's time zone."""

    id: int
    zone: ZoneInfo


def lock_learner(connection: Connection, user_id: int, *, wait: bool = True) -> Any:
    """Lock a learner: no other transaction changes their progress until this one ends.

    Return the learner's zones; None if there is no such learner, or, without `wait`, if they are locked.
    In a statement of its own: what a statement reads while it takes a lock may be older than the lock.
    """
    lock = _LOCKS[db.catalog_is_ours(connection), wait]
    return db.execute(connection, lock, {"user_id": user_id}).fetchone()


def lock_owner(connection: Connection, pub_ids: Iterable[str], default_zone: str) -> Learner | None:
    """Lock the learner who owns these questions, unknown ones aside; None if there is not exactly one.

    The owner is read before the lock: the caller checks again.
    """
    user_id = db.scalar(connection, _OWNER, {"pub_ids": list(pub_ids)})
    row = lock_learner(connection, user_id) if user_id else None
    return None if row is None else Learner(user_id, _zone(row.time_zone, row.default_zone or default_zone))


def learner_zone(connection: Connection, user_id: int, default_zone: str) -> ZoneInfo:
    """Return the learner's time zone, or the default."""
    row = db.execute(connection, _ZONE, {"user_id": user_id}).fetchone()
    return _zone(row.time_zone, row.default_zone or default_zone) if row else ZoneInfo(default_zone)


def today_of(connection: Connection, user_id: int, *, now: datetime, default_zone: str) -> date:
    """Return the learner's current study date."""
    return study_date(now, None, learner_zone(connection, user_id, default_zone))


def _zone(name: str | None, default_zone: str) -> ZoneInfo:
    # The catalog may have been loaded on a host with a newer time zone database: that must not fail here.
    try:
        return ZoneInfo(name or default_zone)
    except (OSError, ValueError, KeyError):  # a folder's name, a path, an unknown name
        return ZoneInfo(default_zone)


# For progress p, its question's topic t and the learner's date :today: no due date is later than the exam.
SHOWN_DUE = "CASE WHEN t.exam_on >= :today THEN least(p.due, t.exam_on) ELSE p.due END"

# What is shown of progress p.
SHOWN = """p.stability, p.difficulty, p.due, p.last_answered_at, p.reviews, p.misses, p.miss_streak,
    p.correct_streak, p.wrong_note"""

_LIST = text(f"""
    SELECT e.pub_id, {SHOWN}
    FROM study_question_progress p JOIN current_editions e ON e.source_id = p.study_question_id
    WHERE p.user_id = :user_id AND e.pub_id COLLATE "C" > :after
    ORDER BY e.pub_id COLLATE "C"
    LIMIT :limit
""")  # noqa: S608  # made of the constant above


def list_progress(
    connection: Connection, user_id: int, *, after: str = "", limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield one JSON object for each question, sorted by public id: times in UTC, `due` a date."""
    for row in db.execute(connection, _LIST, {"user_id": user_id, "after": after, "limit": limit}):
        times = {"due": row.due.isoformat(), "last_answered_at": row.last_answered_at.isoformat()}
        yield row._asdict() | times


_REVIEW = "a.study_question_id, a.answered_at, a.study_date, a.rating, a.outcome, a.counted"

_HISTORY = text(f"""
    SELECT {_REVIEW}
    FROM study_question_attempts a
    JOIN study_quiz_sessions s ON s.user_id = a.user_id AND s.id = a.study_quiz_session_id
    WHERE a.study_question_id = ANY(CAST(:question_ids AS bigint[])) AND a.user_id = :user_id
        AND s.id <> ALL(CAST(:session_ids AS bigint[])) AND s.status <> 'in_progress' AND s.voided_at IS NULL
""")  # noqa: S608  # made of the constant above

_KNOWN = text("""
    SELECT study_question_id FROM study_question_progress WHERE user_id = :user_id
    UNION
    SELECT study_question_id FROM study_question_attempts WHERE user_id = :user_id
    ORDER BY 1
""")


def load_reviews(
    connection: Connection, user_id: int, question_ids: Iterable[int], *, excluding: Sequence[int] = ()
) -> dict[int, list[Review]]:
    """Load these questions' reviews from closed sessions, practice too, `excluding` some sessions."""
    reviews: dict[int, list[Review]] = {question: [] for question in question_ids}
    if reviews:
        bound = {"user_id": user_id, "session_ids": list(excluding), "question_ids": list(reviews)}
        for row in db.execute(connection, _HISTORY, bound):
            reviews[row[0]].append(_review(*row))
    return reviews


def known_questions(connection: Connection, user_id: int) -> list[int]:
    """Return the questions that have progress or attempts."""
    return db.scalars(connection, _KNOWN, {"user_id": user_id})


def _review(question: int, at: datetime, day: date, rating: int, outcome: str, counted: bool) -> Review:  # noqa: FBT001, PLR0913, PLR0917  # the columns of an attempt
    return Review(question, at, day, Rating(rating), Outcome(outcome), counted)


_TYPES = {
    "stability": "float8",
    "difficulty": "float8",
    "due": "date",
    "due_at_most": "date",
    "last_answered_at": "timestamptz",
    "last_study_date": "date",
    "reviews": "int",
    "misses": "int",
    "corrects": "int",
    "miss_streak": "int",
    "correct_streak": "int",
    "correct_since": "date",
    "wrong_note": "text",
    "note_opened_at": "timestamptz",
    "note_closed_at": "timestamptz",
}
COLUMNS = Progress._fields

_LOAD = text(f"""
    SELECT study_question_id, scheduler, {", ".join(COLUMNS)}
    FROM study_question_progress
    WHERE user_id = :user_id AND study_question_id = ANY(CAST(:question_ids AS bigint[]))
""")  # noqa: S608  # made of the constants above

# For `shared.changes`: the learner's row names the last transaction that changed progress of theirs.
_CHANGED = """
    INSERT INTO learner_changes (user_id, changed_xid, whole_xid)
    VALUES (:user_id, pg_current_xact_id(), pg_current_xact_id())
    ON CONFLICT (user_id) DO UPDATE SET
        changed_xid = greatest(learner_changes.changed_xid, excluded.changed_xid)
"""

_SAVE = text(f"""
    WITH changed AS ({_CHANGED})
    INSERT INTO study_question_progress
        (user_id, scheduler, changed_xid, study_question_id, {", ".join(COLUMNS)})
    SELECT :user_id, :scheduler, pg_current_xact_id(), saved.*
    FROM json_to_recordset(CAST(:progress AS json))
        AS saved (study_question_id bigint, {", ".join(f"{name} {_TYPES[name]}" for name in COLUMNS)})
    ON CONFLICT (study_question_id, user_id) DO UPDATE SET
        scheduler = excluded.scheduler,
        changed_xid = excluded.changed_xid,
        {", ".join(f"{name} = excluded.{name}" for name in COLUMNS)}
""")  # noqa: S608  # made of the constants above

_DELETE = text("""
    DELETE FROM study_question_progress
    WHERE user_id = :user_id AND study_question_id = ANY(CAST(:question_ids AS bigint[]))
""")

# A row that is gone cannot say when it went: a reader of changes gets all that is left.
_WHOLE = text(f"""
    {_CHANGED}, whole_xid = greatest(learner_changes.whole_xid, excluded.whole_xid)
""")


def load_cached(connection: Connection, user_id: int, question_ids: Iterable[int]) -> dict[int, Cached]:
    """Load the progress of some questions; a question without a review has none."""
    rows = db.execute(connection, _LOAD, {"user_id": user_id, "question_ids": list(question_ids)})
    return {question: as_cached(*row) for question, *row in rows}


def as_cached(scheduler: str, *columns: Any) -> Cached:
    """Read the columns of a row of progress; `columns` are those of COLUMNS."""
    progress = Progress(*columns)
    return Cached(progress._replace(wrong_note=WrongNote(progress.wrong_note)), scheduler)


def save_progress(connection: Connection, user_id: int, progress: Mapping[int, Progress]) -> None:
    """Save the progress of some questions, with the scheduler that produced it."""
    if not progress:
        return
    rows = [{"study_question_id": question} | new._asdict() for question, new in progress.items()]
    db.execute(connection, _SAVE, {"user_id": user_id, "scheduler": SCHEDULER, "progress": db.as_json(rows)})


def delete_progress(connection: Connection, user_id: int, question_ids: Iterable[int]) -> None:
    """Delete the progress of questions that have no review left."""
    if ids := list(question_ids):
        db.execute(connection, _DELETE, {"user_id": user_id, "question_ids": ids})
        mark_whole(connection, user_id)


def mark_whole(connection: Connection, user_id: int) -> None:
    """Note that progress of a learner was deleted."""
    db.execute(connection, _WHOLE, {"user_id": user_id})


_LOAD_SESSIONS = text(f"""
    SELECT a.study_quiz_session_id, {_REVIEW}, p.scheduler, {", ".join(f"p.{name}" for name in COLUMNS)}
    FROM study_question_attempts a
    LEFT JOIN study_question_progress p USING (user_id, study_question_id)
    WHERE user_id = :user_id AND a.study_quiz_session_id = ANY(CAST(:session_ids AS bigint[]))
    ORDER BY a.ordinal
""")  # noqa: S608  # made of the constants above

# The ids are given twice: with the join alone, Postgres would read all sessions until an ANALYZE.
_CLOSE = text(f"""
    WITH closed AS (
        UPDATE study_quiz_sessions SET
            status = CASE WHEN status = 'in_progress' THEN 'done' ELSE status END,
            finished_at = coalesce(finished_at, :now),
            correct_count = correct, wrong_count = wrong, unsure_count = unsure,
            newly_correct_count = newly_correct, recovered_count = recovered, relapsed_count = relapsed,
            chronic_remaining_count = chronic
        FROM json_to_recordset(CAST(:counts AS json))
            AS counted (session_id bigint, {", ".join(f"{name} int" for name in Counts._fields)})
        WHERE user_id = :user_id AND id = ANY(CAST(:session_ids AS bigint[])) AND id = session_id
        RETURNING session_id, study_topic_id, correct_count, wrong_count, unsure_count, newly_correct_count,
            recovered_count, relapsed_count, chronic_remaining_count
    ), asked AS (
        INSERT INTO outbox (user_id, study_quiz_session_id, kind)
        SELECT :user_id, session_id, kind FROM closed, unnest(ARRAY['explain_misses', 'weak_areas']) AS kind
        ON CONFLICT (user_id, study_quiz_session_id, kind) DO NOTHING
    )
    SELECT * FROM closed
""")  # noqa: S608  # made of the constants above


def load_sessions(
    connection: Connection, user_id: int, session_ids: Sequence[int]
) -> tuple[dict[int, list[Review]], dict[int, Cached]]:
    """Load each session's attempts in their order, and the progress of their questions."""
    sessions: dict[int, list[Review]] = {each: [] for each in session_ids}
    cached = {}
    bound = {"user_id": user_id, "session_ids": session_ids}
    for session, *row in db.execute(connection, _LOAD_SESSIONS, bound):
        review = _review(*row[:6])
        sessions[session].append(review)
        if row[6] is not None:
            cached[review.question_id] = as_cached(*row[6:])
    return sessions, cached


def close_sessions(
    connection: Connection, user_id: int, counts: Mapping[int, Counts], *, now: datetime
) -> dict[int, dict[str, Any]]:
    """Write the counts of each session, close it unless it was abandoned, and insert its webhooks.

    Return the snapshots of counts by session.
    """
    counted = [{"session_id": session} | each._asdict() for session, each in counts.items()]
    bound = {"user_id": user_id, "session_ids": list(counts), "counts": db.as_json(counted), "now": now}
    return {row.session_id: row._asdict() for row in db.execute(connection, _CLOSE, bound)}
