"""A replay written by hand for speed alone: psycopg, pipelined, in as few statements as its effects allow.

It can replay only what benchmarks.workload makes: known questions, and answers newer than all answers before.
Both sides use our fold; P9 compares the fold with fsrs alone.
"""

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from psycopg import Connection

from shared.db import as_json
from shared.study.grading import grade, study_date
from shared.study.progress import SCHEDULER, Progress, Review, WrongNote, advance, classify

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
    LEFT JOIN study_question_progress p ON p.study_question_id = q.id AND p.user_id = q.user_id
    WHERE i.pub_id = ANY(%s)"""
LOG = """
    WITH session AS (
        INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, subject_distribution, cursor,
            status, source, client_session_uuid, finished_at, finalized_at, correct_count, wrong_count,
            unsure_count, newly_correct_count, recovered_count, relapsed_count, chronic_remaining_count)
        SELECT %s, study_topic_id, question_ids, subject_distribution, cursor, 'done', 'viewer', %s,
            finished_at, %s, correct_count, wrong_count, unsure_count, newly_correct_count, recovered_count,
            relapsed_count, chronic_remaining_count
        FROM json_populate_recordset(NULL::study_quiz_sessions, %s)
        RETURNING user_id, id, study_topic_id
    ), attempt AS (
        INSERT INTO study_question_attempts (user_id, study_quiz_session_id, study_question_id, pub_id,
            ordinal, selected, unsure, outcome, rating, counted, answered_at, answered_at_raw, study_date,
            clock_adjusted)
        SELECT s.user_id, s.id, a.question, a.pub_id, a.ordinal, a.selected, a.unsure, a.outcome, a.rating,
            a.counted, a.answered_at, a.answered_at, a.study_date, FALSE
        FROM json_to_recordset(%s) AS a (topic bigint, question bigint, pub_id text, ordinal int,
            selected smallint, unsure boolean, outcome text, rating smallint, counted boolean,
            answered_at timestamptz, study_date date)
        JOIN session s ON s.study_topic_id = a.topic
    ), webhook AS (
        INSERT INTO outbox (user_id, study_quiz_session_id, kind)
        SELECT s.user_id, s.id, kind FROM session s, unnest(ARRAY['explain_misses', 'weak_areas']) AS kind
    )
    SELECT study_topic_id, id FROM session"""
PROGRESS = """
    WITH changed AS (
        INSERT INTO learner_changes (user_id, changed_xid, whole_xid)
        VALUES (%s, pg_current_xact_id(), pg_current_xact_id())
        ON CONFLICT (user_id) DO UPDATE SET
            changed_xid = greatest(learner_changes.changed_xid, excluded.changed_xid)
    )
    INSERT INTO study_question_progress (user_id, scheduler, changed_xid, study_question_id, stability,
        difficulty, due, due_at_most, last_answered_at, last_study_date, reviews, misses, corrects,
        miss_streak, correct_streak, correct_since, wrong_note, note_opened_at, note_closed_at)
    SELECT %s, %s, pg_current_xact_id(), study_question_id, stability, difficulty, due, due_at_most,
        last_answered_at, last_study_date, reviews, misses, corrects, miss_streak, correct_streak,
        correct_since, wrong_note, note_opened_at, note_closed_at
    FROM json_populate_recordset(NULL::study_question_progress, %s)
    ON CONFLICT (study_question_id, user_id) DO UPDATE SET scheduler = excluded.scheduler,
        changed_xid = excluded.changed_xid, stability = excluded.stability,
        difficulty = excluded.difficulty, due = excluded.due, due_at_most = excluded.due_at_most,
        last_answered_at = excluded.last_answered_at, last_study_date = excluded.last_study_date,
        reviews = excluded.reviews, misses = excluded.misses, corrects = excluded.corrects,
        miss_streak = excluded.miss_streak, correct_streak = excluded.correct_streak,
        correct_since = excluded.correct_since, wrong_note = excluded.wrong_note,
        note_opened_at = excluded.note_opened_at, note_closed_at = excluded.note_closed_at"""
CLOSE = """
    UPDATE uploads SET status = 'ingested', result = %s::jsonb, user_id = %s, finalized_at = %s
    WHERE client_session_uuid = %s"""


class LateError(Exception):
    """An answer is not newer than its question's progress; the hand-written replay cannot take it."""


def replay(connection: Connection, upload: UUID, now: datetime) -> None:
    """Replay one upload in four round trips."""
    with connection.transaction(), connection.pipeline():
        cursor = connection.execute(UPLOAD, [upload], prepare=True)
        ((payload,),) = cursor.fetchall()
        attempts = payload["attempts"]
        pub_ids = [attempt["pub_id"] for attempt in attempts]
        learners = connection.execute(LEARNER, [pub_ids], prepare=True)
        rows = connection.execute(QUESTIONS, [pub_ids], prepare=True)
        ((user_id, zone_name),) = learners.fetchall()
        zone = ZoneInfo(zone_name)
        questions, progress = {}, {}
        for pub_id, question, topic, subject, correct_choice, *known in rows:
            questions[pub_id] = (question, topic, subject, correct_choice)
            if known[0] is not None:
                *first, note, opened_at, closed_at = known
                progress[question] = Progress._make([*first, WrongNote(note), opened_at, closed_at])

        log, fates, folded = [], [], {}
        topics = defaultdict[int, list[Any]](list)
        for ordinal, attempt in enumerate(attempts):
            pub_id, selected, unsure = attempt["pub_id"], attempt["selected"], attempt["unsure"]
            question, topic, subject, correct_choice = questions[pub_id]
            at = datetime.fromisoformat(attempt["answered_at"])
            outcome, rating = grade(selected, unsure=unsure, correct_choice=correct_choice)
            before, counted = progress.get(question), question not in folded
            if before and at <= before.last_answered_at:
                raise LateError(f"{pub_id} at {at}")
            day = study_date(at, None, zone)
            review = Review(question, at, day, rating, outcome, counted)
            progress[question] = folded[question] = advance(before, review)
            pattern = classify(before, review) if counted else None
            topics[topic].append((question, subject, outcome, pattern, at, counted))
            log.append(
                {
                    "topic": topic,
                    "question": question,
                    "pub_id": pub_id,
                    "ordinal": ordinal,
                    "selected": selected,
                    "unsure": unsure,
                    "outcome": outcome,
                    "rating": rating,
                    "counted": counted,
                    "answered_at": at,
                    "study_date": day,
                }
            )
            fates.append({"pub_id": pub_id, "status": "counted" if counted else "practice"})

        counts = {topic: count(answers) for topic, answers in topics.items()}
        sessions = [session(topic, answers) | counts[topic] for topic, answers in topics.items()]
        values = [user_id, str(upload), now, as_json(sessions), as_json(log)]
        logged = connection.execute(LOG, values, prepare=True)
        saved = [each._asdict() | {"study_question_id": question} for question, each in folded.items()]
        connection.execute(PROGRESS, [user_id, user_id, SCHEDULER, as_json(saved)], prepare=True)
        session_ids: dict[int, int] = dict(logged.fetchall())
        result = {
            "topics": [
                {"session_id": session_ids[topic], "study_topic_id": topic} | counts[topic]
                for topic in topics
            ],
            "attempts": fates,
            "questions": [
                {"pub_id": pub_id, "due": folded[questions[pub_id][0]].due} for pub_id in sorted(questions)
            ],
        }
        connection.execute(CLOSE, [as_json(result), user_id, now, upload], prepare=True)


def session(topic: int, answers: list[Any]) -> dict[str, Any]:
    """Return a session's row without its counts."""
    counted = [each for each in answers if each[-1]]
    return {
        "study_topic_id": topic,
        "question_ids": [question for question, *_ in counted],
        "subject_distribution": Counter(subject for _, subject, *_ in counted),
        "cursor": len(counted),
        "finished_at": max(at for _, _, _, _, at, _ in answers),
    }


def count(answers: list[Any]) -> dict[str, int]:
    """Count a session's outcomes and patterns."""
    found = Counter(name for _, _, *names, _, counted in answers if counted for name in names)
    return {column: found[name] for column, name in zip(COUNT_COLUMNS, COUNTS, strict=True)}
