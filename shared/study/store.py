"""Progress as rows: one per learner and question, a cache of the fold."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fsrs import Rating
from sqlalchemy import Connection, text

from shared.db import as_json, execute, scalar
from shared.study.grading import Outcome, WrongNote
from shared.study.progress import Cached, Counts, Progress, Review
from shared.study.scheduling import SCHEDULER

_LOCK = text("SELECT id FROM users WHERE id = :user_id FOR NO KEY UPDATE")
# Nobody where the questions have several owners: nothing of such an upload is written. What is locked is the
# newest row; who owns the questions was read before it, and the caller looks again.
_LOCK_OWNER = text("""
    SELECT id, coalesce(time_zone, :default_zone) FROM users WHERE id = (
        SELECT min(q.user_id) FROM published_items i JOIN study_questions q ON q.id = i.source_id
        WHERE i.pub_id = ANY(CAST(:pub_ids AS text[])) HAVING min(q.user_id) = max(q.user_id))
    FOR NO KEY UPDATE
""")
_ZONE = text("SELECT coalesce(time_zone, :default_zone) FROM users WHERE id = :user_id")


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner whose lock is held, and the time zone of his study day."""

    id: int
    zone: ZoneInfo


def lock_learner(connection: Connection, user_id: int) -> None:
    """Let nobody else change this learner's progress until the transaction ends.

    A statement of its own: what is read together with a lock may be older than the lock.
    """
    execute(connection, _LOCK, {"user_id": user_id})


def lock_owner(connection: Connection, pub_ids: Iterable[str], default_zone: str) -> Learner | None:
    """Lock the learner who owns all the known ones of these questions; None if there is no such one."""
    bound = {"pub_ids": list(pub_ids), "default_zone": default_zone}
    row = execute(connection, _LOCK_OWNER, bound).fetchone()
    return None if row is None else Learner(row[0], ZoneInfo(row[1]))


def learner_zone(connection: Connection, user_id: int, default_zone: str) -> ZoneInfo:
    """Return the learner's time zone, or the default."""
    return ZoneInfo(scalar(connection, _ZONE, {"user_id": user_id, "default_zone": default_zone}))


_LIST = text("""
    SELECT i.pub_id, p.stability, p.difficulty, p.due, p.last_reviewed_at, p.reviews, p.misses,
        p.miss_streak, p.correct_streak, p.wrong_note
    FROM study_question_progress p
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = p.study_question_id) i ON TRUE
    WHERE p.user_id = :user_id
    ORDER BY i.pub_id COLLATE "C", p.study_question_id
""")


def list_progress(connection: Connection, user_id: int) -> Iterator[dict[str, Any]]:
    """Yield one JSON value a question, sorted by public id: times in UTC, `due` a date."""
    for row in execute(connection, _LIST, {"user_id": user_id}):
        times = {"due": row.due.isoformat(), "last_reviewed_at": row.last_reviewed_at.isoformat()}
        yield row._asdict() | times


_HISTORY = text("""
    SELECT a.study_question_id, a.answered_at, a.rating, a.outcome
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE a.study_question_id = ANY(CAST(:question_ids AS bigint[])) AND a.counted
        AND s.user_id = :user_id AND s.id <> ALL(CAST(:session_ids AS bigint[]))
        AND s.status <> 'in_progress' AND s.voided_at IS NULL
""")

_OF_LEARNER = text("""
    SELECT a.study_question_id, a.answered_at, a.rating, a.outcome
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE s.user_id = :user_id AND a.counted AND s.status <> 'in_progress' AND s.voided_at IS NULL
""")


def other_reviews(
    connection: Connection, user_id: int, session_ids: Sequence[int], question_ids: Iterable[int]
) -> dict[int, list[Review]]:
    """Load what the learner's other finalized sessions know of some questions."""
    ids = list(question_ids)
    if not ids:
        return {}
    bound = {"user_id": user_id, "session_ids": session_ids, "question_ids": ids}
    found = _by_question(execute(connection, _HISTORY, bound))
    return {question: found.get(question, []) for question in ids}


def learner_reviews(connection: Connection, user_id: int) -> dict[int, list[Review]]:
    """Load everything that a learner's progress is folded from."""
    return _by_question(execute(connection, _OF_LEARNER, {"user_id": user_id}))


def _by_question(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[Review]]:
    reviews = defaultdict(list)
    for question, *review in rows:
        reviews[question].append(as_review(question, *review))
    return dict(reviews)


def as_review(question: int, answered_at: datetime, rating: int, outcome: str) -> Review:
    """Read the columns of an attempt."""
    return Review(question, answered_at, Rating(rating), Outcome(outcome))


_TYPES = {
    "stability": "float8",
    "difficulty": "float8",
    "due": "date",
    "last_reviewed_at": "timestamptz",
    "reviews": "int",
    "misses": "int",
    "corrects": "int",
    "miss_streak": "int",
    "correct_streak": "int",
    "wrong_note": "text",
    "note_opened_at": "timestamptz",
    "note_closed_at": "timestamptz",
}
COLUMNS = Progress._fields

_LOAD = text(f"""
    SELECT study_question_id, scheduler, time_zone, {", ".join(COLUMNS)}
    FROM study_question_progress
    WHERE user_id = :user_id AND study_question_id = ANY(CAST(:question_ids AS bigint[]))
""")  # noqa: S608  # made of the constants above

_LOAD_ALL = text(f"""
    SELECT study_question_id, scheduler, time_zone, {", ".join(COLUMNS)}
    FROM study_question_progress WHERE user_id = :user_id
""")  # noqa: S608  # made of the constants above

_SAVE = text(f"""
    INSERT INTO study_question_progress
        (user_id, scheduler, time_zone, study_question_id, {", ".join(COLUMNS)})
    SELECT :user_id, :scheduler, :time_zone, saved.*
    FROM json_to_recordset(CAST(:progress AS json))
        AS saved (study_question_id bigint, {", ".join(f"{name} {_TYPES[name]}" for name in COLUMNS)})
    ON CONFLICT (user_id, study_question_id) DO UPDATE SET
        scheduler = excluded.scheduler, time_zone = excluded.time_zone, updated_at = now(),
        {", ".join(f"{name} = excluded.{name}" for name in COLUMNS)}
""")  # noqa: S608  # made of the constants above

_FORGET = text("""
    DELETE FROM study_question_progress
    WHERE user_id = :user_id AND study_question_id = ANY(CAST(:question_ids AS bigint[]))
""")


def load_cached(connection: Connection, user_id: int, question_ids: Iterable[int]) -> dict[int, Cached]:
    """Load the progress of some questions; a question without a review has none."""
    rows = execute(connection, _LOAD, {"user_id": user_id, "question_ids": list(question_ids)})
    return {question: as_cached(*row) for question, *row in rows}


def load_all_cached(connection: Connection, user_id: int) -> dict[int, Cached]:
    """Load all progress of a learner."""
    rows = execute(connection, _LOAD_ALL, {"user_id": user_id})
    return {question: as_cached(*row) for question, *row in rows}


def as_cached(scheduler: str, time_zone: str, *columns: Any) -> Cached:
    """Read the columns of a row of progress; `columns` are those of COLUMNS."""
    progress = Progress(*columns)
    return Cached(progress._replace(wrong_note=WrongNote(progress.wrong_note)), scheduler, time_zone)


def save_progress(
    connection: Connection, user_id: int, progress: Mapping[int, Progress], zone: ZoneInfo
) -> None:
    """Save the progress of some questions, with the scheduler and time zone that produced it."""
    if not progress:
        return
    rows = [{"study_question_id": question} | new._asdict() for question, new in progress.items()]
    kept = {"user_id": user_id, "scheduler": SCHEDULER, "time_zone": zone.key}
    execute(connection, _SAVE, kept | {"progress": as_json(rows)})


def forget_progress(connection: Connection, user_id: int, question_ids: Iterable[int]) -> None:
    """Delete the progress of questions that have no review left."""
    if ids := list(question_ids):
        execute(connection, _FORGET, {"user_id": user_id, "question_ids": ids})


_COUNTS = [field.name for field in fields(Counts)]

_LOAD_SESSIONS = text(f"""
    SELECT a.study_quiz_session_id, a.study_question_id, a.answered_at, a.rating, a.outcome, p.scheduler,
        p.time_zone, {", ".join(f"p.{name}" for name in COLUMNS)}
    FROM study_question_attempts a
    LEFT JOIN study_question_progress p ON p.user_id = :user_id AND p.study_question_id = a.study_question_id
    WHERE a.study_quiz_session_id = ANY(CAST(:session_ids AS bigint[])) AND a.counted ORDER BY a.ordinal
""")  # noqa: S608  # made of constants

# The ids once more: joined alone, a few sessions would have all of them read, until an ANALYZE.
_CLOSE = text(f"""
    WITH closed AS (
        UPDATE study_quiz_sessions SET
            status = CASE status WHEN 'in_progress' THEN 'done' ELSE status END,
            finished_at = coalesce(finished_at, :now),
            correct_count = correct, wrong_count = wrong, unsure_count = unsure,
            newly_correct_count = newly_correct, recovered_count = recovered, relapsed_count = relapsed,
            chronic_remaining_count = chronic
        FROM json_to_recordset(CAST(:counts AS json))
            AS counted (session_id bigint, {", ".join(f"{name} int" for name in _COUNTS)})
        WHERE id = ANY(CAST(:session_ids AS bigint[])) AND id = session_id
        RETURNING session_id, study_topic_id, correct_count, wrong_count, unsure_count, newly_correct_count,
            recovered_count, relapsed_count, chronic_remaining_count
    ), asked AS (
        INSERT INTO outbox (user_id, study_quiz_session_id, kind)
        SELECT s.user_id, session_id, kind
        FROM closed JOIN study_quiz_sessions s ON s.id = session_id,
            unnest(ARRAY['explain_misses', 'weak_areas']) AS kind
        ON CONFLICT (user_id, study_quiz_session_id, kind) DO NOTHING
    )
    SELECT * FROM closed
""")  # noqa: S608  # made of the constants above


def load_sessions(
    connection: Connection, user_id: int, session_ids: Sequence[int]
) -> tuple[list[list[Review]], dict[int, Cached]]:
    """Load each session's counted attempts, as they were given, and what is known of their questions."""
    sessions: dict[int, list[Review]] = {each: [] for each in session_ids}
    cached = {}
    bound = {"user_id": user_id, "session_ids": session_ids}
    rows = execute(connection, _LOAD_SESSIONS, bound)
    for session, question, at, rating, outcome, scheduler, *known in rows:
        sessions[session].append(as_review(question, at, rating, outcome))
        if scheduler is not None:
            cached[question] = as_cached(scheduler, *known)
    return list(sessions.values()), cached


def close_sessions(
    connection: Connection, session_ids: Sequence[int], counts: Sequence[Counts], *, now: datetime
) -> list[dict[str, Any]]:
    """Write each session's counts, close it unless it was abandoned, and ask for its webhooks.

    Return the snapshots of counts.
    """
    counted = [{"session_id": id_} | asdict(each) for id_, each in zip(session_ids, counts, strict=True)]
    bound = {"session_ids": session_ids, "counts": as_json(counted), "now": now}
    snapshots = {row.session_id: row._asdict() for row in execute(connection, _CLOSE, bound)}
    return [snapshots[each] for each in session_ids]
