"""A replay written by hand for speed alone: psycopg, pipelined, in as few statements as its effects allow.

It can replay only what benchmarks.workload makes: known questions, each once, newer than all answers before.
"""

import json
from collections import Counter, defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from psycopg import Connection

from shared.study.grading import grade
from shared.study.progress import SCHEDULER, Progress, Review, WrongNote, advance, classify
from shared.study.scheduling import study_date

COUNTS = ("correct", "wrong", "unsure", "newly_correct", "recovered", "relapsed", "chronic")
COUNT_COLUMNS = [f"{name}_remaining_count" if name == "chronic" else f"{name}_count" for name in COUNTS]

UPLOAD = (
    "SELECT payload FROM uploads WHERE client_session_uuid = %s AND status = 'received' FOR NO KEY UPDATE"
)
LEARNER = """
    SELECT id, coalesce(time_zone, 'UTC') FROM users WHERE id IN (
        SELECT q.user_id FROM published_items i JOIN study_questions q ON q.id = i.source_id
        WHERE i.pub_id = ANY(%s))
    FOR NO KEY UPDATE"""
QUESTIONS = """
    SELECT i.pub_id, q.id, q.study_topic_id, q.subject, i.correct_choice, p.stability, p.difficulty, p.due,
        p.due_at_most, p.last_answered_at, p.last_study_date, p.reviews, p.misses, p.corrects, p.miss_streak,
        p.correct_streak, p.correct_since, p.wrong_note, p.note_opened_at, p.note_closed_at
    FROM published_items i JOIN study_questions q ON q.id = i.source_id
    LEFT JOIN study_question_progress p ON p.user_id = q.user_id AND p.study_question_id = q.id
    WHERE i.pub_id = ANY(%s)"""
LOG = """
    WITH session AS (
        INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, subject_distribution, cursor,
            status, source, client_session_uuid, finished_at, finalized_at, correct_count, wrong_count,
            unsure_count, newly_correct_count, recovered_count, relapsed_count, chronic_remaining_count)
        SELECT %s, t.topic, t.questions::jsonb, t.subjects::jsonb, t.cursor, 'done', 'viewer', %s, t.finished,
            %s, t.correct, t.wrong, t.unsure, t.newly, t.recovered, t.relapsed, t.chronic
        FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::int[], %s::int[],
            %s::int[], %s::int[], %s::int[], %s::int[], %s::int[]) AS t (topic, questions, subjects, cursor,
            finished, correct, wrong, unsure, newly, recovered, relapsed, chronic)
        RETURNING user_id, id, study_topic_id
    ), attempt AS (
        INSERT INTO study_question_attempts (user_id, study_quiz_session_id, study_question_id, pub_id,
            ordinal, selected, unsure, outcome, rating, counted, answered_at, answered_at_raw, study_date,
            clock_adjusted)
        SELECT s.user_id, s.id, a.question, a.pub_id, a.ordinal, a.selected, a.unsure, a.outcome, a.rating,
            TRUE, a.at, a.at, a.day, FALSE
        FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::int[], %s::smallint[], %s::boolean[],
            %s::text[], %s::smallint[], %s::timestamptz[], %s::date[]) AS a (topic, question, pub_id, ordinal,
            selected, unsure, outcome, rating, at, day)
        JOIN session s ON s.study_topic_id = a.topic
    ), webhook AS (
        INSERT INTO outbox (user_id, study_quiz_session_id, kind)
        SELECT s.user_id, s.id, kind FROM session s, unnest(ARRAY['explain_misses', 'weak_areas']) AS kind
    )
    SELECT study_topic_id, id FROM session"""
PROGRESS = """
    INSERT INTO study_question_progress (user_id, scheduler, study_question_id, stability, difficulty, due,
        due_at_most, last_answered_at, last_study_date, reviews, misses, corrects, miss_streak,
        correct_streak, correct_since, wrong_note, note_opened_at, note_closed_at)
    SELECT %s, %s, p.* FROM unnest(%s::bigint[], %s::float8[], %s::float8[], %s::date[], %s::date[],
        %s::timestamptz[], %s::date[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::date[],
        %s::text[], %s::timestamptz[], %s::timestamptz[]) AS p
    ON CONFLICT (study_question_id, user_id) DO UPDATE SET scheduler = excluded.scheduler,
        stability = excluded.stability, difficulty = excluded.difficulty, due = excluded.due,
        due_at_most = excluded.due_at_most, last_answered_at = excluded.last_answered_at,
        last_study_date = excluded.last_study_date, reviews = excluded.reviews, misses = excluded.misses,
        corrects = excluded.corrects, miss_streak = excluded.miss_streak,
        correct_streak = excluded.correct_streak, correct_since = excluded.correct_since,
        wrong_note = excluded.wrong_note, note_opened_at = excluded.note_opened_at,
        note_closed_at = excluded.note_closed_at"""
CLOSE = """
    UPDATE uploads SET status = 'ingested', result = %s::jsonb, user_id = %s, finalized_at = %s
    WHERE client_session_uuid = %s"""


def replay(connection: Connection, upload: UUID, now: datetime) -> None:
    """Replay one upload in four round trips."""
    with connection.transaction(), connection.pipeline():
        cursor = connection.execute(UPLOAD, [upload], prepare=True)
        ((payload,),) = cursor.fetchall()
        attempts = payload["attempts"]
        ids = [attempt["pub_id"] for attempt in attempts]
        learners = connection.execute(LEARNER, [ids], prepare=True)
        questions = connection.execute(QUESTIONS, [ids], prepare=True)
        ((user_id, zone_name),) = learners.fetchall()
        known = {row[0]: row for row in questions}

        log, progress, topics = [], [], defaultdict[int, list[Any]](list)
        zone = ZoneInfo(zone_name)
        for ordinal, attempt in enumerate(attempts):
            question = known[attempt["pub_id"]]
            at = datetime.fromisoformat(attempt["answered_at"])
            selected, unsure = attempt["selected"], attempt["unsure"]
            outcome, rating = grade(selected, unsure=unsure, correct_choice=question[4])
            pub_id, number, topic, subject = question[:4]
            day = study_date(at, None, zone)
            review = Review(number, at, day, rating, outcome, counted=True)
            before = None
            if question[5] is not None:
                before = Progress(*question[5:])._replace(wrong_note=WrongNote(question[-3]))
                if at <= before.last_answered_at:
                    raise ValueError("this answer is late, and the hand-written replay takes none")
            topics[topic].append((number, subject, outcome, classify(before, review), at))
            log.append((topic, number, pub_id, ordinal, selected, unsure, outcome, int(rating), at, day))
            progress.append((number, *advance(before, review)))

        sessions = [session(topic, each) for topic, each in topics.items()]
        values = [*columns(sessions), *columns(log)]
        logged = connection.execute(LOG, [user_id, str(upload), now, *values], prepare=True)
        connection.execute(PROGRESS, [user_id, SCHEDULER, *columns(progress)], prepare=True)
        result = report(dict(logged.fetchall()), sessions, ids, {row[0]: row for row in progress}, known)
        connection.execute(CLOSE, [result, user_id, now, upload], prepare=True)


def columns(rows: list[Any]) -> list[list[Any]]:
    """Turn rows into arrays, one for each column."""
    return [list(column) for column in zip(*rows, strict=True)]


def session(topic: int, answers: list[Any]) -> tuple[Any, ...]:
    """Return the values of a session's row."""
    ids, subjects, outcomes, patterns, times = zip(*answers, strict=True)
    counts = Counter(outcomes) + Counter(patterns)
    lists = json.dumps(ids), json.dumps(Counter(subjects))
    return (topic, *lists, len(ids), max(times), *(counts[name] for name in COUNTS))


def report(
    session_ids: dict[int, int],
    sessions: list[Any],
    pub_ids: list[str],
    progress: dict[int, Any],
    known: dict[str, Any],
) -> str:
    """Write what is kept with the upload, and answered to its sender."""
    topics = [
        {"session_id": session_ids[topic], "study_topic_id": topic}
        | dict(zip(COUNT_COLUMNS, counts, strict=True))
        for topic, _, _, _, _, *counts in sessions
    ]
    attempts = [{"pub_id": pub_id, "status": "counted"} for pub_id in pub_ids]
    questions = [
        {"pub_id": pub_id, "due": progress[known[pub_id][1]][3].isoformat()} for pub_id in sorted(pub_ids)
    ]
    return json.dumps({"topics": topics, "attempts": attempts, "questions": questions})
