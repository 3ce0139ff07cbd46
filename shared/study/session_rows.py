"""Quiz sessions as rows, as far as finalize knows them: what it decides on, and how they end."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from shared.statement import as_json, named, run
from shared.study.decision import Cached, Counts
from shared.study.progress import Review
from shared.study.progress_rows import COLUMNS, as_cached
from shared.study.review_rows import as_review

_COUNTS = [field.name for field in fields(Counts)]

_LOAD = text(f"""
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
        INSERT INTO study_followups (study_quiz_session_id, kind)
        SELECT session_id, kind FROM closed, unnest(ARRAY['explain_misses', 'weak_areas']) AS kind
        ON CONFLICT (study_quiz_session_id, kind) DO NOTHING
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
    for session, question, at, rating, outcome, scheduler, *known in run(connection, _LOAD, bound):
        sessions[session].append(as_review(question, at, rating, outcome))
        if scheduler is not None:
            cached[question] = as_cached(scheduler, *known)
    return list(sessions.values()), cached


def close_sessions(
    connection: Connection, session_ids: Sequence[int], counts: Sequence[Counts], *, now: datetime
) -> list[dict[str, Any]]:
    """Write each session's counts, close it unless it was abandoned, and ask for its follow-ups.

    Return the snapshots of counts.
    """
    counted = [{"session_id": id_} | asdict(each) for id_, each in zip(session_ids, counts, strict=True)]
    bound = {"session_ids": session_ids, "counts": as_json(counted), "now": now}
    rows = named(run(connection, _CLOSE, bound))
    snapshots = {row["session_id"]: row for row in rows}
    return [snapshots[each] for each in session_ids]
