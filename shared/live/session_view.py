"""A session as its learner may see it: never the right choices, only what became of what was answered."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

from shared.live.session_record import unknown_session

COUNTS = (
    "correct_count",
    "wrong_count",
    "unsure_count",
    "newly_correct_count",
    "recovered_count",
    "relapsed_count",
    "chronic_remaining_count",
)

_SESSION = text(f"""
    SELECT id AS session_id, study_topic_id, status, source, quiz_mode, wrong_only, subject_filter,
        target_per_subject, subject_distribution, cursor, created_at, finished_at, voided_at,
        {", ".join(COUNTS)}
    FROM study_quiz_sessions WHERE id = :session_id AND user_id = :user_id
""")  # noqa: S608  # made of the constants above

# Two public ids may name one question; everywhere, it is shown under the first. One without is not shown.
_QUESTIONS = text("""
    SELECT place.number - 1 AS ordinal, i.pub_id, q.subject, q.choices,
        a.outcome IS NOT NULL AS answered, a.selected, a.unsure, a.outcome, a.answered_at
    FROM study_quiz_sessions s
    CROSS JOIN jsonb_array_elements_text(s.question_ids) WITH ORDINALITY AS place (question_id, number)
    JOIN study_questions q ON q.id = CAST(place.question_id AS bigint)
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = q.id HAVING count(*) > 0) i ON TRUE
    LEFT JOIN study_question_attempts a
        ON a.study_quiz_session_id = s.id AND a.study_question_id = q.id AND a.counted
    WHERE s.id = :session_id ORDER BY place.number
""")

_DUE = text("""
    SELECT i.pub_id, p.due
    FROM study_question_attempts a
    JOIN study_question_progress p ON p.user_id = :user_id AND p.study_question_id = a.study_question_id
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = a.study_question_id HAVING count(*) > 0) i ON TRUE
    WHERE a.study_quiz_session_id = :session_id AND a.counted ORDER BY a.ordinal
""")


def read_session(connection: Connection, user_id: int, session_id: int) -> dict[str, Any]:
    """Return a session of a learner with its questions and what was answered; of whatever source."""
    bound = {"user_id": user_id, "session_id": session_id}
    row = connection.execute(_SESSION, bound).mappings().one_or_none()
    if row is None:
        raise unknown_session(session_id)
    questions = connection.execute(_QUESTIONS, bound).mappings()
    return with_snapshot(dict(row)) | {"questions": [_question(dict(each)) for each in questions]}


def read_closed(connection: Connection, user_id: int, session_id: int) -> dict[str, Any]:
    """Return what a closed session left: its snapshot, and when each answered question is due now."""
    bound = {"user_id": user_id, "session_id": session_id}
    session = with_snapshot(dict(connection.execute(_SESSION, bound).mappings().one()))
    kept = {name: session[name] for name in ("session_id", "status", "finished_at", "snapshot")}
    return kept | {"questions": [dict(row) for row in connection.execute(_DUE, bound).mappings()]}


def with_snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """Put a session's counts together; there are none before it is closed."""
    counts = {name: row[name] for name in COUNTS}
    rest = {name: value for name, value in row.items() if name not in counts}
    return rest | {"snapshot": None if row["status"] == "in_progress" else counts}


def _question(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("ordinal", "pub_id", "subject", "choices")}
    answer = {name: row[name] for name in ("selected", "unsure", "outcome", "answered_at")}
    return shown | {"answer": answer if row["answered"] else None}
