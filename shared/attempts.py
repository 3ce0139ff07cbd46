"""The log of attempts: look up the questions that public ids name; insert attempts and sessions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from shared.db import as_json, execute
from shared.editions import CAN_GRADE, CHOICE_COUNT
from shared.errors import OvertakenError
from shared.plan import Plan, PlannedAttempt, Question
from shared.study.store import COUNTS

_QUESTIONS = text(f"""
    SELECT i.pub_id, q.id, q.user_id, q.study_topic_id, q.subject, {CHOICE_COUNT} AS choice_count,
        i.correct_choice, i.published_at
    FROM published_items i JOIN study_questions q ON q.id = i.source_id
    WHERE i.pub_id = ANY(ARRAY(SELECT json_array_elements_text(CAST(:pub_ids AS json)))) AND {CAN_GRADE}
""")  # noqa: S608  # made of the constants above


def load_questions(connection: Connection, pub_ids: Iterable[str]) -> dict[str, Question]:
    """Map each known public id to its question, in the edition that the id names.

    An id counts as unknown if its edition has no valid key. It also counts as unknown if several editions
    have the id, as is possible in a document server's views: it is not known which edition the learner saw,
    and these editions may belong to several learners.

    A caller that grades must hold the learner's lock: then no load of the catalog changes a key before the
    caller has written.
    """
    rows = execute(connection, _QUESTIONS, {"pub_ids": as_json(list(pub_ids))}).fetchall()
    found = Counter(row.pub_id for row in rows)
    return {pub_id: Question(*question) for pub_id, *question in rows if found[pub_id] == 1}


# SESSION stands for the columns that name an attempt's session. If the same statement inserts the session,
# they are upload and topic; else they are the ids of learner and session.
_ATTEMPTS = """
    INSERT INTO study_question_attempts (user_id, study_quiz_session_id, study_question_id, pub_id, ordinal,
        selected, unsure, outcome, rating, counted, answered_at, answered_at_raw, utc_offset, study_date,
        clock_adjusted)
    SELECT user_id, session_id, question_id, pub_id, ordinal, selected, unsure, outcome, rating, counted,
        answered_at, answered_at_raw, utc_offset, study_date, clock_adjusted
    FROM json_to_recordset(CAST(:attempts AS json)) AS attempt (SESSION, question_id bigint, pub_id text,
        ordinal int, selected smallint, unsure boolean, outcome text, rating smallint, counted boolean,
        answered_at timestamptz, answered_at_raw timestamptz, utc_offset smallint, study_date date,
        clock_adjusted boolean)
"""

_INSERT_SESSIONS = text(f"""
    WITH session AS (
        INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, subject_distribution, cursor,
            status, source, client_session_uuid, finished_at, finalized_at)
        SELECT user_id, topic_id, question_ids, subjects, jsonb_array_length(question_ids), 'done', 'viewer',
            upload, finished_at, :now
        FROM json_to_recordset(CAST(:sessions AS json)) AS session (user_id bigint, upload text,
            topic_id bigint, question_ids jsonb, subjects jsonb, finished_at timestamptz)
        ON CONFLICT (client_session_uuid, study_topic_id)
        WHERE client_session_uuid IS NOT NULL AND superseded_at IS NULL DO NOTHING
        RETURNING user_id, client_session_uuid AS upload, study_topic_id AS topic_id, id AS session_id
    ), attempt AS ({_ATTEMPTS.replace("SESSION", "upload text, topic_id bigint")}
        JOIN session USING (upload, topic_id) ORDER BY session_id, ordinal
    )
    SELECT upload, topic_id, session_id FROM session
""")  # noqa: S608  # made of the constant above

_INSERT_ATTEMPTS = text(_ATTEMPTS.replace("SESSION", "user_id bigint, session_id bigint"))

# Voided sessions are included: their upload must not be ingested again. Superseded ones are left out: a
# replay inserts new ones.
_SESSIONS_OF_UPLOADS = text(f"""
    SELECT client_session_uuid, user_id, id AS session_id, study_topic_id, {", ".join(COUNTS)}
    FROM study_quiz_sessions
    WHERE client_session_uuid = ANY(ARRAY(SELECT json_array_elements_text(CAST(:ids AS json))))
        AND superseded_at IS NULL
    ORDER BY id
""")  # noqa: S608  # made of a constant


def insert_sessions(
    connection: Connection, plans: Mapping[tuple[UUID, int], Plan], *, now: datetime
) -> dict[tuple[UUID, int], list[int]]:
    """Insert one session, with its attempts, for each topic of each upload.

    `plans`: by upload and learner. Return the ids of each upload's sessions, in the order of its topics.
    Raises OvertakenError if one of the sessions exists already, in spite of our locks.
    """
    if not plans:
        return {}
    sessions, rows = [], []
    for (uuid, user_id), plan in plans.items():
        upload = str(uuid)
        for topic, planned in plan.topics.items():
            sessions.append(
                {"user_id": user_id, "upload": upload, "topic_id": topic} | _session(planned, plan)
            )
            key = {"upload": upload, "topic_id": topic}
            rows += [key | _attempt(each, counted=each.ordinal in plan.counted) for each in planned]
    bound = {"sessions": as_json(sessions), "attempts": as_json(rows), "now": now}
    ids = {(upload, topic): id_ for upload, topic, id_ in execute(connection, _INSERT_SESSIONS, bound)}
    if len(ids) != len(sessions):
        raise OvertakenError("a quiz session of these uploads exists already")
    return {key: [ids[str(key[0]), topic] for topic in plan.topics] for key, plan in plans.items()}


def insert_attempt(connection: Connection, user_id: int, session_id: int, attempt: PlannedAttempt) -> None:
    """Insert a counted attempt into an existing session."""
    row = {"user_id": user_id, "session_id": session_id} | _attempt(attempt, counted=True)
    execute(connection, _INSERT_ATTEMPTS, {"attempts": as_json([row])})


def _session(planned: Sequence[PlannedAttempt], plan: Plan) -> dict[str, Any]:
    counted = [each.question for each in planned if each.ordinal in plan.counted]
    return {
        "question_ids": [question.id for question in counted],
        "subjects": Counter(question.subject for question in counted),
        "finished_at": plan.finished_at or max(each.answered_at for each in planned),
    }


def _attempt(attempt: PlannedAttempt, *, counted: bool) -> dict[str, Any]:
    return {
        "question_id": attempt.question.id,
        "pub_id": attempt.pub_id,
        "ordinal": attempt.ordinal,
        "selected": attempt.selected,
        "unsure": attempt.unsure,
        "outcome": attempt.outcome,
        "rating": attempt.rating,
        "counted": counted,
        "answered_at": attempt.answered_at,
        "answered_at_raw": attempt.answered_at_raw,
        "utc_offset": attempt.utc_offset,
        "study_date": attempt.study_date,
        "clock_adjusted": attempt.clock_adjusted,
    }


def sessions_of_uploads(
    connection: Connection, client_session_uuids: Iterable[UUID]
) -> dict[tuple[UUID, int], list[dict[str, Any]]]:
    """Map each pair of upload and learner to the ids, topics and counts of its sessions.

    Superseded sessions are left out.
    """
    found: dict[tuple[UUID, int], list[dict[str, Any]]] = defaultdict(list)
    ids = [str(uuid) for uuid in client_session_uuids]
    for row in execute(connection, _SESSIONS_OF_UPLOADS, {"ids": as_json(ids)}):
        counts = row._asdict()
        found[UUID(counts.pop("client_session_uuid")), counts.pop("user_id")].append(counts)
    return found
