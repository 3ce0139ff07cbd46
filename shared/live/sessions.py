"""Quiz sessions that are answered live: start one, answer its questions, close it, void it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, text

from shared import attempts, db, errors, failures
from shared.editions import CAN_GRADE
from shared.live.forms import MAX_QUESTIONS, SessionStart, Submission
from shared.plan import PlannedAttempt
from shared.study import grading, store, voiding
from shared.study.finalize import finalize_session
from shared.study.scheduling import Memory, retrievability

log = structlog.get_logger()


class Candidate(NamedTuple):
    """A question that may be asked.

    `priority`: exam frequency times the probability of a wrong answer now; `due`: None for a new question.
    """

    question_id: int
    subject: str
    priority: float
    due: date | None


class Started(NamedTuple):
    """A session in progress; `new`: whether `start` has just begun it."""

    session_id: int
    new: bool


_IN_PROGRESS = text("""
    SELECT id FROM study_quiz_sessions
    WHERE user_id = :user_id AND study_topic_id = :study_topic_id AND status = 'in_progress'
""")

_INSERT = text("""
    INSERT INTO study_quiz_sessions (user_id, study_topic_id, target_per_subject, subject_filter, wrong_only,
        quiz_mode, question_ids, subject_distribution, created_at)
    VALUES (:user_id, :study_topic_id, :target_per_subject, :subject_filter, :wrong_only, :quiz_mode,
        CAST(:question_ids AS jsonb), CAST(:subjects AS jsonb), :now)
    ON CONFLICT (user_id, study_topic_id) WHERE status = 'in_progress' DO NOTHING
    RETURNING id
""")


def start(  # noqa: PLR0913  # the parts of the request, and what chance and clock say
    connection: Connection,
    user_id: int,
    form: SessionStart,
    *,
    rng: Random,
    now: datetime,
    default_zone: str,
) -> Started:
    """Start a session; if one is in progress in the topic, return that one unchanged."""
    lock_known_learner(connection, user_id)
    require_topic(connection, user_id, form.study_topic_id)
    topic = {"user_id": user_id, "study_topic_id": form.study_topic_id}
    if found := db.scalar(connection, _IN_PROGRESS, topic):
        return Started(found, new=False)
    today = store.today_of(connection, user_id, now=now, default_zone=default_zone)
    candidates = load_candidates(connection, user_id, form, today=today, now=now)
    chosen = choose(candidates, form, today, rng)
    if not chosen:
        raise errors.NothingToAskError("no question of the topic matches the request")
    snapshot = {
        "question_ids": json.dumps([each.question_id for each in chosen]),
        "subjects": json.dumps(Counter(each.subject for each in chosen)),
    }
    bound = form.model_dump() | snapshot | {"user_id": user_id, "now": now}
    if made := db.scalar(connection, _INSERT, bound):
        return Started(made, new=True)
    if found := db.scalar(connection, _IN_PROGRESS, topic):  # begun by a process that took no lock
        return Started(found, new=False)
    raise errors.OvertakenError("another process started and closed a session of the topic meanwhile")


# An unknown exam frequency counts as the mean of the topic; if no frequency is known, as 1.
_CANDIDATES = text(f"""
    SELECT q.id, q.subject, {store.SHOWN_DUE} AS due, p.stability, p.difficulty, p.last_study_date,
        coalesce(q.exam_frequency, (SELECT avg(exam_frequency) FROM study_questions
            WHERE study_topic_id = :study_topic_id AND user_id = :user_id), 1.0) AS exam_frequency
    FROM study_questions q
    JOIN study_topics t ON t.id = q.study_topic_id
    LEFT JOIN study_question_progress p ON p.study_question_id = q.id AND p.user_id = q.user_id
    WHERE q.study_topic_id = :study_topic_id AND q.user_id = :user_id
        AND (q.retired_at IS NULL OR q.retired_at > :now)
        AND EXISTS (SELECT FROM current_editions e WHERE e.source_id = q.id)
        AND q.subject = coalesce(CAST(:subject_filter AS text), q.subject)
        AND (p.wrong_note = 'open' OR NOT :wrong_only)
    ORDER BY q.id
""")  # noqa: S608  # made of the constant above


def load_candidates(
    connection: Connection, user_id: int, form: SessionStart, *, today: date, now: datetime
) -> list[Candidate]:
    """Load the questions that match the form, each with its priority and due date."""
    bound = form.model_dump() | {"user_id": user_id, "today": today, "now": now}
    candidates = []
    for row in db.execute(connection, _CANDIDATES, bound):
        recall = 0.0
        if row.last_study_date is not None:
            recall = retrievability(Memory(row.stability, row.difficulty), row.last_study_date, today)
        candidates.append(Candidate(row.id, row.subject, row.exam_frequency * (1 - recall), row.due))
    return candidates


def choose(candidates: Sequence[Candidate], form: SessionStart, today: date, rng: Random) -> list[Candidate]:
    """Choose questions, in the order to ask them, with at most `target_per_subject` of each subject.

    A `due` session has at most `new_per_session` new questions, and every session at most MAX_QUESTIONS.
    """
    order = rng.sample(candidates, len(candidates))  # sorting is stable: so chance decides ties
    if form.quiz_mode != "random":
        order.sort(key=lambda each: -each.priority)
    if form.quiz_mode == "due":
        due = [each for each in order if each.due and each.due <= today]
        order = sorted(due, key=lambda each: each.due or today) + [each for each in order if not each.due]
    chosen: list[Candidate] = []
    of_subject: Counter[str] = Counter()
    new = 0
    for each in order:
        is_new = form.quiz_mode == "due" and not each.due
        if of_subject[each.subject] < form.target_per_subject and not (
            is_new and new >= form.new_per_session
        ):
            chosen.append(each)
            of_subject[each.subject] += 1
            new += is_new
    return chosen[:MAX_QUESTIONS]


_TOPIC = text("SELECT EXISTS (SELECT FROM study_topics WHERE id = :topic_id AND user_id = :user_id)")
_LOCK = text("""
    SELECT id, status, question_ids FROM study_quiz_sessions
    WHERE id = :session_id AND user_id = :user_id FOR NO KEY UPDATE
""")


def lock_known_learner(connection: Connection, user_id: int) -> None:
    """Lock a learner; raise UnknownLearnerError if there is no such learner.

    A learner is always locked before their quiz session.
    """
    store.lock_learner(connection, user_id)
    require_learner(connection, user_id)


def require_learner(connection: Connection, user_id: int) -> None:
    """Raise UnknownLearnerError if there is no such learner."""
    if not store.is_learner(connection, user_id):
        raise errors.UnknownLearnerError(f"there is no learner {user_id}")


def require_topic(connection: Connection, user_id: int, topic_id: int) -> None:
    """Raise UnknownTopicError if the learner has no such topic, even if another learner has it."""
    if not db.scalar(connection, _TOPIC, {"user_id": user_id, "topic_id": topic_id}):
        raise errors.UnknownTopicError(f"the learner has no topic {topic_id}")


def lock_session(connection: Connection, user_id: int, session_id: int) -> Any:
    """Lock a session and return its `id`, `status` and `question_ids`; the caller has locked the learner."""
    row = db.execute(connection, _LOCK, {"user_id": user_id, "session_id": session_id}).fetchone()
    if row is None:
        raise unknown_session(session_id)
    return row


def unknown_session(session_id: int) -> errors.UnknownSessionError:
    """Make the error for a session that the learner does not have, even if another learner has it."""
    return errors.UnknownSessionError(f"the learner has no quiz session {session_id}")


# `cursor` is that of a session whose questions are all answered, see `read_session`.
_SESSION = text(f"""
    SELECT id AS session_id, study_topic_id, status, source, quiz_mode, wrong_only, subject_filter,
        target_per_subject, subject_distribution, jsonb_array_length(question_ids) AS cursor, created_at,
        finished_at, voided_at, {", ".join(store.COUNTS)}
    FROM study_quiz_sessions WHERE id = :session_id AND user_id = :user_id
""")  # noqa: S608  # made of the constants above

# An answered question is shown in the edition that was answered, any other question in its current edition.
_QUESTIONS = text(f"""
    SELECT place.number - 1 AS ordinal, coalesce(i.pub_id, e.pub_id) AS pub_id, q.subject,
        coalesce(i.choices, e.choices) AS choices,
        a.outcome IS NOT NULL AS answered, a.selected, a.unsure, a.outcome, a.answered_at
    FROM study_quiz_sessions s
    CROSS JOIN jsonb_array_elements_text(s.question_ids) WITH ORDINALITY AS place (question_id, number)
    JOIN study_questions q ON q.id = CAST(place.question_id AS bigint)
    JOIN current_editions e ON e.source_id = q.id
    LEFT JOIN study_question_attempts a ON a.user_id = s.user_id AND a.study_quiz_session_id = s.id
        AND a.study_question_id = q.id AND a.counted
    LEFT JOIN published_items i ON i.pub_id = a.pub_id AND i.source_id = q.id AND {CAN_GRADE}
    WHERE s.id = :session_id AND s.user_id = :user_id ORDER BY place.number
""")  # noqa: S608  # made of a constant


def read_session(connection: Connection, user_id: int, session_id: int) -> dict[str, Any]:
    """Return a session of a learner, live or uploaded, with its questions and their counted answers.

    A question without a current edition is left out.
    """
    bound = {"user_id": user_id, "session_id": session_id}
    row = db.execute(connection, _SESSION, bound).fetchone()
    if row is None:
        raise unknown_session(session_id)
    questions = [
        {
            **{name: getattr(each, name) for name in ("ordinal", "pub_id", "subject")},
            # A document server's table may have choices that are no texts, such as numbers.
            "choices": [c if isinstance(c, str) else json.dumps(c, ensure_ascii=False) for c in each.choices],
            "answer": {name: getattr(each, name) for name in ("selected", "unsure", "outcome", "answered_at")}
            if each.answered
            else None,
        }
        for each in db.execute(connection, _QUESTIONS, bound)
    ]
    # The stored cursor may be the place of a question that a document server has deleted since.
    cursor = min([row.cursor, *(each["ordinal"] for each in questions if each["answer"] is None)])
    return with_snapshot(row._asdict()) | {"cursor": cursor, "questions": questions}


def with_snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """Move a session's counts into `snapshot`, which is None before the session is closed."""
    counts = {name: row[name] for name in store.COUNTS}
    rest = {name: value for name, value in row.items() if name not in counts}
    return rest | {"snapshot": None if row["status"] == "in_progress" else counts}


_ANSWER = text("""
    SELECT pub_id, ordinal, selected, unsure, outcome, answered_at FROM study_question_attempts
    WHERE user_id = :user_id AND study_quiz_session_id = :session_id AND study_question_id = :question_id
        AND counted
""")

# Moves the cursor to the first question without an answer: answers may come in any order.
_MOVE_CURSOR = text("""
    UPDATE study_quiz_sessions SET cursor = coalesce(
        (SELECT min(place) FROM generate_series(0, jsonb_array_length(question_ids) - 1) AS place
         WHERE place NOT IN (SELECT ordinal FROM study_question_attempts
            WHERE user_id = :user_id AND study_quiz_session_id = :session_id)),
        jsonb_array_length(question_ids))
    WHERE id = :session_id AND user_id = :user_id
""")


def submit(  # noqa: PLR0913  # the parts of the request
    connection: Connection,
    user_id: int,
    session_id: int,
    answer: Submission,
    *,
    now: datetime,
    default_zone: str,
) -> dict[str, Any]:
    """Record an answer and return it with its outcome; the same answer again changes nothing.

    The answer is graded by the edition that it names: the one that was shown.
    """
    lock_known_learner(connection, user_id)
    session = lock_session(connection, user_id, session_id)
    if session.status != "in_progress":
        raise errors.SessionClosedError(f"the session is {session.status}")
    question = attempts.load_questions(connection, [answer.pub_id]).get(answer.pub_id)
    if question is None or question.id not in session.question_ids:
        raise errors.NotAskedError("the session does not ask this question")
    if answer.selected is not None and answer.selected >= question.choice_count:
        raise errors.NoSuchChoiceError(f"Input should be less than {question.choice_count}")
    bound = {"user_id": user_id, "session_id": session_id, "question_id": question.id}
    recorded = db.execute(connection, _ANSWER, bound).fetchone()
    if recorded is None:
        attempt = PlannedAttempt(
            session.question_ids.index(question.id),
            question,
            answer.pub_id,
            answer.selected,
            answer.unsure,
            *grading.grade(answer.selected, unsure=answer.unsure, correct_choice=question.correct_choice),
            answered_at=now,
            answered_at_raw=now,
            utc_offset=None,
            study_date=store.today_of(connection, user_id, now=now, default_zone=default_zone),
        )
        attempts.insert_attempt(connection, user_id, session_id, attempt)
        db.execute(connection, _MOVE_CURSOR, bound)
        recorded = next(db.execute(connection, _ANSWER, bound))
    # The same index in another edition may be another choice.
    elif (recorded.pub_id, recorded.selected, recorded.unsure) != (
        answer.pub_id,
        answer.selected,
        answer.unsure,
    ):
        raise errors.AlreadyAnsweredError("the question already has another answer in this session")
    recorded_answer: dict[str, Any] = recorded._asdict()
    return recorded_answer


_DUE = text(f"""
    SELECT a.pub_id, {store.SHOWN_DUE} AS due
    FROM study_question_attempts a
    JOIN study_question_progress p ON p.study_question_id = a.study_question_id AND p.user_id = a.user_id
    JOIN study_questions q ON q.id = a.study_question_id
    JOIN study_topics t ON t.id = q.study_topic_id
    WHERE a.user_id = :user_id AND a.study_quiz_session_id = :session_id AND a.counted ORDER BY a.ordinal
""")  # noqa: S608  # made of the constant above

_ABANDON = text("""
    UPDATE study_quiz_sessions SET status = 'abandoned' WHERE id = :session_id AND user_id = :user_id
""")


def close(  # noqa: PLR0913  # each says what it is at the call
    connection: Connection, user_id: int, session_id: int, *, status: str, now: datetime, default_zone: str
) -> dict[str, Any]:
    """Close a session as `done` or `abandoned`; return its snapshot, and when its questions are due.

    With either status the answers count, and a question without an answer has no effect. A session that has
    `status` already is not changed. Raises SessionClosedError if it was closed with the other status.
    """
    lock_known_learner(connection, user_id)
    found = lock_session(connection, user_id, session_id).status
    if found not in {"in_progress", status}:
        raise errors.SessionClosedError(f"the session is {found}")
    bound = {"user_id": user_id, "session_id": session_id}
    if found == "in_progress":
        if status == "abandoned":
            db.execute(connection, _ABANDON, bound)
        finalize_session(connection, user_id, session_id, now=now)
    session = with_snapshot(next(db.execute(connection, _SESSION, bound))._asdict())
    today = store.today_of(connection, user_id, now=now, default_zone=default_zone)
    due = db.execute(connection, _DUE, bound | {"today": today})
    return {
        **{name: session[name] for name in ("session_id", "status", "finished_at", "snapshot")},
        "questions": [row._asdict() for row in due],
    }


# In random order, so that sessions that fail every time do not displace the others.
_IDLE = text("""
    SELECT s.user_id, s.id FROM study_quiz_sessions s JOIN users u ON u.id = s.user_id
    WHERE s.status = 'in_progress' AND s.created_at < :since
        AND NOT EXISTS (SELECT FROM study_question_attempts a
            WHERE a.user_id = s.user_id AND a.study_quiz_session_id = s.id AND a.answered_at >= :since)
    ORDER BY random() LIMIT :limit
""")

_STILL_IDLE = text("""
    SELECT EXISTS (SELECT FROM study_quiz_sessions s
        WHERE s.id = :session_id AND s.user_id = :user_id AND s.status = 'in_progress'
            AND NOT EXISTS (SELECT FROM study_question_attempts a
                WHERE a.user_id = s.user_id AND a.study_quiz_session_id = s.id AND a.answered_at >= :since))
""")


def abandon_idle(
    connection: Connection, *, now: datetime, idle: timedelta, default_zone: str, limit: int = 20
) -> int:
    """Abandon up to `limit` sessions that had no answer for `idle`; their answers count. Return how many.

    A session that cannot be abandoned is logged, and tried again by a later call. A session is skipped if
    another transaction has locked its learner.
    """
    since = now - idle
    abandoned = 0
    for user_id, session_id in db.execute(connection, _IDLE, {"since": since, "limit": limit}).fetchall():
        if store.lock_learner(connection, user_id, wait=False) is None:
            continue
        # What a statement reads while it takes a lock may be older than the lock.
        bound = {"user_id": user_id, "session_id": session_id, "since": since}
        if not db.scalar(connection, _STILL_IDLE, bound):
            continue
        try:
            with connection.begin_nested():
                close(connection, user_id, session_id, status="abandoned", now=now, default_zone=default_zone)
        except Exception as error:
            if connection.invalidated:
                raise
            log.warning("quiz_session.abandon_failed", session=session_id, error=failures.describe(error))
        else:
            abandoned += 1
    return abandoned


def void(
    connection: Connection, user_id: int, session_id: int, *, now: datetime, default_zone: str
) -> dict[str, Any]:
    """Void a session, live or uploaded; a session in progress is abandoned first.

    After that, another session can be started in its topic. Raises SupersededError if the session is
    superseded: its answers may count through the session that took its place.
    """
    lock_known_learner(connection, user_id)
    if lock_session(connection, user_id, session_id).status == "in_progress":
        close(connection, user_id, session_id, status="abandoned", now=now, default_zone=default_zone)
    voiding.void_sessions(connection, user_id, [session_id], reason="deleted in the front end")
    return read_session(connection, user_id, session_id)


def unvoid(connection: Connection, user_id: int, session_id: int) -> dict[str, Any]:
    """Bring a voided session back; one that is not void stays as it is.

    Raises SupersededError if the session is superseded: it is void permanently.
    """
    lock_known_learner(connection, user_id)
    lock_session(connection, user_id, session_id)
    voiding.unvoid_sessions(connection, user_id, [session_id])
    return read_session(connection, user_id, session_id)
