"""Progress as rows: one per learner and question, a cache of the fold."""

from collections.abc import Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from shared.statement import as_json, run
from shared.study.decision import Cached
from shared.study.progress import Progress
from shared.study.schedule import SCHEDULER
from shared.study.wrong_note import WrongNote

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
    rows = run(connection, _LOAD, {"user_id": user_id, "question_ids": list(question_ids)})
    return {question: as_cached(*row) for question, *row in rows}


def load_all_cached(connection: Connection, user_id: int) -> dict[int, Cached]:
    """Load all progress of a learner."""
    rows = connection.execute(_LOAD_ALL, {"user_id": user_id})
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
    run(connection, _SAVE, kept | {"progress": as_json(rows)})


def forget_progress(connection: Connection, user_id: int, question_ids: Iterable[int]) -> None:
    """Delete the progress of questions that have no review left."""
    if ids := list(question_ids):
        connection.execute(_FORGET, {"user_id": user_id, "question_ids": ids})
