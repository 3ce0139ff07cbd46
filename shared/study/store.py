"""The SQL of this package: learners, attempts as reviews, progress, and closing sessions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from fsrs import Rating
from sqlalchemy import Connection, text

from shared import db, zones
from shared.editions import CAN_GRADE
from shared.study.grading import Outcome, study_date
from shared.study.progress import SCHEDULER, Cached, Counts, Progress, Review, WrongNote

# A default time zone in the database is used instead of STUDY_TIME_ZONE: see `shared/data_settings.py`.
_ZONES = "time_zone, (SELECT value FROM data_settings WHERE name = 'study_time_zone') AS default_zone"
_OF_LEARNER = f"SELECT {_ZONES} FROM users WHERE id = :user_id"  # noqa: S608  # made of the constant above
# A row of a document server is not locked: the server must not wait for us, and our role may only read the
# row.
_LEARNER_LOCK = "hashint8extended(CAST(:user_id AS bigint), 7319400453)"
# The keys: is the catalog ours, and may the statement wait?
_LOCKS = {
    (True, True): text(f"{_OF_LEARNER} FOR NO KEY UPDATE"),
    (True, False): text(f"{_OF_LEARNER} FOR NO KEY UPDATE SKIP LOCKED"),
    (False, True): text(
        _OF_LEARNER.replace(" FROM users", f", pg_advisory_xact_lock({_LEARNER_LOCK}) FROM users")
    ),
    (False, False): text(f"{_OF_LEARNER} AND pg_try_advisory_xact_lock({_LEARNER_LOCK})"),
}
# An upload whose questions have several owners has no owner here: it is rejected. Which public ids are known
# is decided as in `attempts.load_questions`: else the replay would lock other learners than it finds later.
# Arrays, not joins: a join that was planned on an empty table would read all of it
# (tests/integration/test_plans.py).
_OWNERS = f"""
    ARRAY(SELECT (SELECT CASE WHEN min(owner) = max(owner) THEN min(owner) END
        FROM (SELECT min(q.user_id) AS owner
            FROM published_items i JOIN study_questions q ON q.id = i.source_id
            WHERE i.pub_id = ANY(ARRAY(SELECT json_array_elements_text(pub_ids))) AND {CAN_GRADE}
            GROUP BY i.pub_id HAVING count(*) = 1) AS known)
    FROM json_array_elements(CAST(:uploads AS json)) AS pub_ids)
"""  # noqa: S608  # made of a constant
_LOCK_OWNERS = text(f"""
    SELECT id, {_ZONES} FROM users WHERE id = ANY({_OWNERS}) ORDER BY id FOR NO KEY UPDATE
""")  # noqa: S608  # made of the constants above
_FIND_OWNERS = text(f"""
    SELECT DISTINCT owner FROM unnest({_OWNERS}) AS owner WHERE owner IS NOT NULL ORDER BY owner
""")  # noqa: S608  # as above
_ZONE = text(_OF_LEARNER)
_IS_LEARNER = text("SELECT EXISTS (SELECT FROM users WHERE id = :user_id)")


def is_learner(connection: Connection, user_id: int) -> bool:
    """Return whether there is such a learner."""
    return bool(db.scalar(connection, _IS_LEARNER, {"user_id": user_id}))


def lock_learner(connection: Connection, user_id: int, *, wait: bool = True) -> Any:
    """Lock a learner: no other transaction changes their progress until this one ends.

    Return a row: the learner's time zone and the database's default zone, each None if unset. Return None if
    there is no such learner, or, without `wait`, if another transaction has locked the learner. The caller
    reads other data in later statements: what a statement reads while it takes a lock may be older than the
    lock.
    """
    lock = _LOCKS[db.catalog_is_ours(connection), wait]
    return db.execute(connection, lock, {"user_id": user_id}).fetchone()


def lock_owners(
    connection: Connection, pub_ids_of_uploads: Iterable[Iterable[str]], default_zone: str
) -> dict[int, ZoneInfo | None]:
    """Lock the learners who own the questions of uploads, in the order of their ids; return their zones.

    In a document server's views, a question's owner may have no row in `users`: this owner's zone is None.

    Unknown public ids do not matter; an upload whose questions have several owners locks no learner. An owner
    may change between the read and the lock: the caller must read the owners again, and check them.
    """
    pub_ids = {"uploads": db.as_json([list(each) for each in pub_ids_of_uploads])}
    if db.catalog_is_ours(connection):
        locked = {row.id: row for row in db.execute(connection, _LOCK_OWNERS, pub_ids)}
    else:
        found = db.execute(connection, _FIND_OWNERS, pub_ids).fetchall()
        locked = {user_id: lock_learner(connection, user_id) for (user_id,) in found}
    return {
        user_id: row and zones.first_known(row.time_zone, row.default_zone, default_zone)
        for user_id, row in locked.items()
    }


def learner_zone(connection: Connection, user_id: int, default_zone: str) -> ZoneInfo:
    """Return the learner's time zone, or the default."""
    row = db.execute(connection, _ZONE, {"user_id": user_id}).fetchone()
    return zones.first_known(*(row or ()), default_zone)


def today_of(connection: Connection, user_id: int, *, now: datetime, default_zone: str) -> date:
    """Return the learner's current study date."""
    return study_date(now, None, learner_zone(connection, user_id, default_zone))


# For progress p, its question's topic t and the learner's date :today: until the exam is over, no due date is
# later than the exam. A question without progress has no due date.
SHOWN_DUE = "CASE WHEN t.exam_on >= :today AND t.exam_on < p.due THEN t.exam_on ELSE p.due END"

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
    """Yield one JSON object for each question with progress and a current edition, sorted by public id.

    Times are in UTC; `due` is a date. `after`: the public id after which to begin.
    """
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
    """Load these questions' reviews from closed sessions that are not void, `excluding` some sessions."""
    reviews: dict[int, list[Review]] = {question: [] for question in question_ids}
    if reviews:
        bound = {"user_id": user_id, "session_ids": list(excluding), "question_ids": list(reviews)}
        for row in db.execute(connection, _HISTORY, bound):
            reviews[row[0]].append(_review(*row))
    return reviews


def known_questions(connection: Connection, user_id: int) -> list[int]:
    """Return the questions that have progress or attempts."""
    return db.scalars(connection, _KNOWN, {"user_id": user_id})


# `Outcome(text)` takes twice as long as this lookup.
_RATINGS = {int(each): each for each in Rating}
_OUTCOMES = {str(each): each for each in Outcome}
_NOTES = {str(each): each for each in WrongNote}


def _review(question: int, at: datetime, day: date, rating: int, outcome: str, counted: bool) -> Review:  # noqa: FBT001, PLR0913, PLR0917  # the columns of an attempt
    return Review(question, at, day, _RATINGS[rating], _OUTCOMES[outcome], counted)


COLUMNS = Progress._fields

_LOAD = text(f"""
    SELECT study_question_id, scheduler, {", ".join(COLUMNS)}
    FROM study_question_progress
    WHERE user_id = :user_id AND study_question_id = ANY(CAST(:question_ids AS bigint[]))
""")  # noqa: S608  # made of the constants above

# For `shared.changes`: a learner's row names the last transaction that changed their progress.
_CHANGED = """
    ON CONFLICT (user_id) DO UPDATE SET
        changed_xid = greatest(learner_changes.changed_xid, excluded.changed_xid)
"""

_SAVED = f"""
    saved AS (
        SELECT * FROM json_populate_recordset(CAST(NULL AS study_question_progress), CAST(:progress AS json))
    ), changed AS (
        INSERT INTO learner_changes (user_id, changed_xid, whole_xid)
        SELECT DISTINCT user_id, pg_current_xact_id(), pg_current_xact_id() FROM saved {_CHANGED}
    ), progress AS (
        INSERT INTO study_question_progress
            (scheduler, changed_xid, user_id, study_question_id, {", ".join(COLUMNS)})
        SELECT :scheduler, pg_current_xact_id(), user_id, study_question_id, {", ".join(COLUMNS)} FROM saved
        ON CONFLICT (study_question_id, user_id) DO UPDATE SET
            scheduler = excluded.scheduler,
            changed_xid = excluded.changed_xid,
            {", ".join(f"{name} = excluded.{name}" for name in COLUMNS)}
    )
"""  # noqa: S608  # made of the constants above

_SAVE = text(f"WITH {_SAVED} SELECT")

_DELETE = text("""
    DELETE FROM study_question_progress
    WHERE user_id = :user_id AND study_question_id = ANY(CAST(:question_ids AS bigint[]))
""")

# A deleted row cannot report its deletion, so a reader of changes has to read all of the learner's progress.
_WHOLE = text(f"""
    INSERT INTO learner_changes (user_id, changed_xid, whole_xid)
    VALUES (:user_id, pg_current_xact_id(), pg_current_xact_id())
    {_CHANGED}, whole_xid = greatest(learner_changes.whole_xid, excluded.whole_xid)
""")  # noqa: S608  # as above


def load_cached(connection: Connection, user_id: int, question_ids: Iterable[int]) -> dict[int, Cached]:
    """Load the progress of some questions; a question without a review has none."""
    rows = db.execute(connection, _LOAD, {"user_id": user_id, "question_ids": list(question_ids)})
    return {question: as_cached(*row) for question, *row in rows}


def as_cached(scheduler: str, *columns: Any) -> Cached:
    """Convert a row to progress: its `scheduler`, then the values of COLUMNS in their order."""
    *before, note, opened_at, closed_at = columns
    return Cached(Progress._make([*before, _NOTES[note], opened_at, closed_at]), scheduler)


Folded = Mapping[int, Mapping[int, Progress]]  # progress by learner, then by question


def save_progress(connection: Connection, progress: Folded) -> None:
    """Save the progress of some questions, with the scheduler that produced it."""
    db.execute(connection, _SAVE, _bind(progress))


def _bind(progress: Folded) -> dict[str, str]:
    rows = [
        {"user_id": user_id, "study_question_id": question} | new._asdict()
        for user_id, theirs in progress.items()
        for question, new in theirs.items()
    ]
    return {"scheduler": SCHEDULER, "progress": db.as_json(rows)}


def delete_progress(connection: Connection, user_id: int, question_ids: Iterable[int]) -> None:
    """Delete the progress of questions that have no review left."""
    if ids := list(question_ids):
        db.execute(connection, _DELETE, {"user_id": user_id, "question_ids": ids})
        mark_whole(connection, user_id)


def mark_whole(connection: Connection, user_id: int) -> None:
    """Record that progress of a learner was deleted: a reader of changes has to read all of it again."""
    db.execute(connection, _WHOLE, {"user_id": user_id})


# The subquery keeps the order, and makes Postgres look each session up.
_LOAD_SESSIONS = text(f"""
    SELECT user_id, session_id, loaded.*
    FROM json_to_recordset(CAST(:sessions AS json)) AS asked (user_id bigint, session_id bigint),
        LATERAL (
            SELECT {_REVIEW}, p.scheduler, {", ".join(f"p.{name}" for name in COLUMNS)}
            FROM study_question_attempts a
            LEFT JOIN study_question_progress p USING (user_id, study_question_id)
            WHERE user_id = asked.user_id AND a.study_quiz_session_id = asked.session_id
            ORDER BY a.ordinal) AS loaded
""")  # noqa: S608  # made of the constants above

# The columns of a session for the fields of `Counts`, in the same order.
COUNTS = (
    "correct_count",
    "wrong_count",
    "unsure_count",
    "newly_correct_count",
    "recovered_count",
    "relapsed_count",
    "chronic_remaining_count",
)

# The ids are given twice: with the join alone, Postgres would read all sessions until an ANALYZE.
_CLOSE = text(f"""
    WITH {_SAVED}, closed AS (
        UPDATE study_quiz_sessions AS s SET
            status = CASE WHEN status = 'in_progress' THEN 'done' ELSE status END,
            finished_at = coalesce(finished_at, :now),
            {", ".join(f"{column} = {name}" for column, name in zip(COUNTS, Counts._fields, strict=True))}
        FROM json_to_recordset(CAST(:counts AS json)) AS counted (user_id bigint, session_id bigint,
            {", ".join(f"{name} int" for name in Counts._fields)})
        WHERE id = ANY(CAST(:session_ids AS bigint[])) AND id = session_id AND s.user_id = counted.user_id
        RETURNING s.user_id, session_id, study_topic_id, {", ".join(COUNTS)}
    ), asked AS (
        INSERT INTO outbox (user_id, study_quiz_session_id, kind)
        SELECT user_id, session_id, kind FROM closed, unnest(ARRAY['explain_misses', 'weak_areas']) AS kind
        ON CONFLICT (user_id, study_quiz_session_id, kind) DO NOTHING
    )
    SELECT session_id, study_topic_id, {", ".join(COUNTS)} FROM closed
""")  # noqa: S608  # made of the constants above


def load_sessions(
    connection: Connection, sessions: Mapping[int, Iterable[int]]
) -> dict[int, tuple[dict[int, list[Review]], dict[int, Cached]]]:
    """Load sessions by learner: each session's attempts in their order, and the progress of the questions."""
    asked = [
        {"user_id": user_id, "session_id": each} for user_id, theirs in sessions.items() for each in theirs
    ]
    found: dict[int, tuple[dict[int, list[Review]], dict[int, Cached]]] = {
        user_id: ({each: [] for each in theirs}, {}) for user_id, theirs in sessions.items()
    }
    rows = db.execute(connection, _LOAD_SESSIONS, {"sessions": db.as_json(asked)}).fetchall()
    for user_id, session, *row in rows:
        reviews, cached = found[user_id]
        review = _review(*row[:6])
        reviews[session].append(review)
        if row[6] is not None:
            cached[review.question_id] = as_cached(*row[6:])
    return found


def close_sessions(
    connection: Connection, counts: Mapping[tuple[int, int], Counts], progress: Folded, *, now: datetime
) -> dict[int, dict[str, Any]]:
    """Save progress, write the counts of sessions, and insert their webhooks.

    `counts`: by learner and session. A session in progress becomes `done`; one that is `done` or
    `abandoned` stays so. Return the snapshots of counts by session.
    """
    counted = [
        {"user_id": user_id, "session_id": session} | each._asdict()
        for (user_id, session), each in counts.items()
    ]
    ids = db.as_array(session for _, session in counts)
    bound = {"session_ids": ids, "counts": db.as_json(counted), "now": now} | _bind(progress)
    return {row.session_id: row._asdict() for row in db.execute(connection, _CLOSE, bound)}
