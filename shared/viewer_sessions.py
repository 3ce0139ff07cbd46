"""What an upload leaves in the log: one quiz session for each of its topics, and every usable attempt."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from shared.errors import OvertakenError
from shared.plan import Plan, PlannedAttempt
from shared.statement import named, run

_INSERT_SESSIONS = text("""
    INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, subject_distribution, cursor,
        status, source, client_session_uuid, finished_at, finalized_at)
    SELECT :user_id, topic_id, CAST(question_ids AS jsonb), CAST(subjects AS jsonb),
        jsonb_array_length(CAST(question_ids AS jsonb)), 'done', 'viewer', :client_session_uuid,
        finished_at, :now
    FROM unnest(CAST(:topic_ids AS bigint[]), CAST(:question_ids AS text[]), CAST(:subjects AS text[]),
        CAST(:finished AS timestamptz[])) AS topic (topic_id, question_ids, subjects, finished_at)
    ON CONFLICT (client_session_uuid, study_topic_id)
    WHERE client_session_uuid IS NOT NULL AND superseded_at IS NULL DO NOTHING
    RETURNING study_topic_id, id
""")

# Rows travel as one JSON text: as arrays, a column each, they take psycopg five times as long.
_INSERT_ATTEMPTS = text("""
    INSERT INTO study_question_attempts (study_quiz_session_id, study_question_id, ordinal, selected, unsure,
        outcome, rating, counted, answered_at, answered_at_raw, clock_adjusted)
    SELECT * FROM json_to_recordset(CAST(:attempts AS json)) AS attempt (session bigint, question bigint,
        ordinal int, selected smallint, unsure boolean, outcome text, rating smallint, counted boolean,
        answered_at timestamptz, answered_at_raw timestamptz, clock_adjusted boolean)
""")

# What an operator voided stands: its upload is never ingested anew. What was superseded is other content.
_OF_UPLOAD = text("""
    SELECT id AS session_id, user_id, study_topic_id, correct_count, wrong_count, unsure_count,
        newly_correct_count, recovered_count, relapsed_count, chronic_remaining_count
    FROM study_quiz_sessions
    WHERE client_session_uuid = :client_session_uuid AND superseded_at IS NULL ORDER BY id
""")


def insert_sessions(
    connection: Connection, client_session_uuid: UUID, user_id: int, plan: Plan, *, now: datetime
) -> Mapping[int, int]:
    """Insert one session for each topic of an upload; return their ids by topic.

    Raises OvertakenError where one is there already: somebody passed every lock before us.
    """
    counted = {
        topic: [attempt for attempt in attempts if attempt.ordinal in plan.counted]
        for topic, attempts in plan.topics.items()
    }
    bound = {
        "user_id": user_id,
        "client_session_uuid": str(client_session_uuid),
        "topic_ids": list(plan.topics),
        "question_ids": [json.dumps([a.question.id for a in attempts]) for attempts in counted.values()],
        "subjects": [json.dumps(Counter(a.question.subject for a in each)) for each in counted.values()],
        "finished": [
            plan.finished_at or max(attempt.answered_at for attempt in attempts)
            for attempts in plan.topics.values()
        ],
        "now": now,
    }
    ids: dict[int, int] = dict(run(connection, _INSERT_SESSIONS, bound).fetchall())
    if ids.keys() != plan.topics.keys():
        raise OvertakenError("a quiz session of this upload exists already")
    return ids


def insert_attempts(
    connection: Connection, sessions: Mapping[int, Sequence[PlannedAttempt]], counted: set[int]
) -> None:
    """Insert the attempts of one upload; `sessions` maps each session id to its attempts."""
    rows = [
        {
            "session": session_id,
            "question": attempt.question.id,
            "ordinal": attempt.ordinal,
            "selected": attempt.selected,
            "unsure": attempt.unsure,
            "outcome": attempt.outcome,
            "rating": attempt.rating,
            "counted": attempt.ordinal in counted,
            "answered_at": attempt.answered_at,
            "answered_at_raw": attempt.answered_at_raw,
            "clock_adjusted": attempt.clock_adjusted,
        }
        for session_id, attempts in sessions.items()
        for attempt in attempts
    ]
    run(connection, _INSERT_ATTEMPTS, {"attempts": json.dumps(rows, default=str)})


def sessions_of_upload(connection: Connection, client_session_uuid: UUID) -> list[dict[str, Any]]:
    """Return the snapshots of an upload's sessions; none if it was never replayed."""
    return named(run(connection, _OF_UPLOAD, {"client_session_uuid": str(client_session_uuid)}))
