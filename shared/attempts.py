"""The log of attempts: load the questions that they answer, and insert them with an upload's sessions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from shared.db import as_json, execute
from shared.errors import OvertakenError
from shared.plan import Plan, PlannedAttempt, Question

_QUESTIONS = text("""
    SELECT i.pub_id, q.id, q.user_id, q.study_topic_id, q.subject,
        jsonb_array_length(i.choices) AS choice_count, i.correct_choice, i.published_at
    FROM published_items i JOIN study_questions q ON q.id = i.source_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[]))
""")


def load_questions(connection: Connection, pub_ids: Iterable[str]) -> dict[str, Question]:
    """Map each known public id to its question in that edition.

    Called under the learner's lock, so that no key changes between this and the writes that follow.
    """
    rows = execute(connection, _QUESTIONS, {"pub_ids": list(pub_ids)})
    return {pub_id: Question(*question) for pub_id, *question in rows}


# KEY: the column by which an attempt names its session, `topic_id` or `session_id`.
_ATTEMPTS = """
    INSERT INTO study_question_attempts (user_id, study_quiz_session_id, study_question_id, pub_id, ordinal,
        selected, unsure, outcome, rating, counted, answered_at, answered_at_raw, utc_offset, study_date,
        clock_adjusted)
    SELECT :user_id, session_id, question_id, pub_id, ordinal, selected, unsure, outcome, rating, counted,
        answered_at, answered_at_raw, utc_offset, study_date, clock_adjusted
    FROM json_to_recordset(CAST(:attempts AS json)) AS attempt (KEY bigint, question_id bigint, pub_id text,
        ordinal int, selected smallint, unsure boolean, outcome text, rating smallint, counted boolean,
        answered_at timestamptz, answered_at_raw timestamptz, utc_offset smallint, study_date date,
        clock_adjusted boolean)
"""

_INSERT_SESSIONS = text(f"""
    WITH session AS (
        INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, subject_distribution, cursor,
            status, source, client_session_uuid, finished_at, finalized_at)
        SELECT :user_id, topic_id, question_ids, subjects, jsonb_array_length(question_ids), 'done', 'viewer',
            :client_session_uuid, finished_at, :now
        FROM json_to_recordset(CAST(:sessions AS json)) AS session (topic_id bigint, question_ids jsonb,
            subjects jsonb, finished_at timestamptz)
        ON CONFLICT (client_session_uuid, study_topic_id)
        WHERE client_session_uuid IS NOT NULL AND superseded_at IS NULL DO NOTHING
        RETURNING study_topic_id AS topic_id, id AS session_id
    ), attempt AS ({_ATTEMPTS.replace("KEY", "topic_id")}
        JOIN session USING (topic_id) ORDER BY session_id, ordinal
    )
    SELECT topic_id, session_id FROM session
""")  # noqa: S608  # made of the constant above

_INSERT_ATTEMPTS = text(_ATTEMPTS.replace("KEY", "session_id"))

# With voided sessions: their upload is not ingested again. Without superseded ones: others took their place.
_OF_UPLOAD = text("""
    SELECT id AS session_id, user_id, study_topic_id, correct_count, wrong_count, unsure_count,
        newly_correct_count, recovered_count, relapsed_count, chronic_remaining_count
    FROM study_quiz_sessions
    WHERE superseded_at IS NULL AND (client_session_uuid = :id
        OR client_session_uuid = CAST(:other_id AS text) AND user_id = :user_id)
    ORDER BY id
""")


def insert_sessions(
    connection: Connection, client_session_uuid: UUID, user_id: int, plan: Plan, *, now: datetime
) -> Mapping[int, int]:
    """Insert one session for each topic of an upload, with its attempts; return their ids by topic.

    Raises OvertakenError if one of them exists already, in spite of our locks.
    """
    bound = {
        "user_id": user_id,
        "client_session_uuid": str(client_session_uuid),
        "sessions": as_json([_session(topic, plan) for topic in plan.topics]),
        "attempts": _attempts("topic_id", plan.topics, plan.counted),
        "now": now,
    }
    ids: dict[int, int] = dict(execute(connection, _INSERT_SESSIONS, bound).fetchall())
    if ids.keys() != plan.topics.keys():
        raise OvertakenError("a quiz session of this upload exists already")
    return ids


def insert_attempts(
    connection: Connection, user_id: int, sessions: Mapping[int, Sequence[PlannedAttempt]], counted: set[int]
) -> None:
    """Insert attempts into existing sessions; `sessions` maps each session id to its attempts."""
    bound = {"user_id": user_id, "attempts": _attempts("session_id", sessions, counted)}
    execute(connection, _INSERT_ATTEMPTS, bound)


def _session(topic: int, plan: Plan) -> dict[str, Any]:
    attempts = plan.topics[topic]
    counted = [attempt.question for attempt in attempts if attempt.ordinal in plan.counted]
    return {
        "topic_id": topic,
        "question_ids": [question.id for question in counted],
        "subjects": Counter(question.subject for question in counted),
        "finished_at": plan.finished_at or max(attempt.answered_at for attempt in attempts),
    }


def _attempts(key: str, sessions: Mapping[int, Sequence[PlannedAttempt]], counted: set[int]) -> str:
    rows = [
        {
            key: session,
            "question_id": attempt.question.id,
            "pub_id": attempt.pub_id,
            "ordinal": attempt.ordinal,
            "selected": attempt.selected,
            "unsure": attempt.unsure,
            "outcome": attempt.outcome,
            "rating": attempt.rating,
            "counted": attempt.ordinal in counted,
            "answered_at": attempt.answered_at,
            "answered_at_raw": attempt.answered_at_raw,
            "utc_offset": attempt.utc_offset,
            "study_date": attempt.study_date,
            "clock_adjusted": attempt.clock_adjusted,
        }
        for session, attempts in sessions.items()
        for attempt in attempts
    ]
    return as_json(rows)


def sessions_of_upload(
    connection: Connection,
    client_session_uuid: UUID,
    *,
    other_uuid: UUID | None = None,
    user_id: int | None = None,
) -> list[dict[str, Any]]:
    """Return the counts of an upload's sessions, an empty list if it was never ingested.

    With `other_uuid`, also of that learner's sessions under this uuid: see `uploads.own_uuid`.
    """
    other = other_uuid and str(other_uuid)
    bound = {"id": str(client_session_uuid), "other_id": other, "user_id": user_id}
    return [row._asdict() for row in execute(connection, _OF_UPLOAD, bound)]
