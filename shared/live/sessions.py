"""Start a session, or take up the one that is in progress: one for each learner and topic."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from shared.attempts import insert_attempts
from shared.catalog import resolve
from shared.db import execute, scalar
from shared.errors import (
    AlreadyAnsweredError,
    NoSuchChoiceError,
    NotAskedError,
    NothingToAskError,
    OvertakenError,
    SessionClosedError,
    UnknownLearnerError,
    UnknownSessionError,
    UnknownTopicError,
)
from shared.live.forms import MAX_QUESTIONS, QuizMode, SessionStart, Submission
from shared.plan import PlannedAttempt, Question
from shared.study.finalize import finalize_session
from shared.study.grading import grade
from shared.study.scheduling import Memory, retrievability
from shared.study.store import Learner, learner_zone, lock_learner
from shared.study.voiding import unvoid_sessions, void_sessions


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that may be asked.

    `exam_frequency`: None where not known; `recall`: the probability of a right answer now, 0 if never asked.
    """

    question_id: int
    subject: str
    exam_frequency: float | None
    misses: int
    recall: float


def choose(
    candidates: Sequence[Candidate], mode: QuizMode, target_per_subject: int, chance: Random
) -> list[Candidate]:
    """Choose at most so many questions of each subject, in the order in which to ask them."""
    order = chance.sample(candidates, len(candidates))
    if mode == "frequent_focus":
        order.sort(key=_focus)
    chosen = []
    taken: Counter[str] = Counter()
    for candidate in order:
        taken[candidate.subject] += 1
        if taken[candidate.subject] <= target_per_subject:
            chosen.append(candidate)
    return chosen[:MAX_QUESTIONS]


def _focus(candidate: Candidate) -> tuple[bool, float, int, float]:
    """Put first what exams ask often, then, where that is not known, what was missed often and is fading."""
    frequency = candidate.exam_frequency
    return (frequency is None, -(frequency or 0), -candidate.misses, candidate.recall)


_CANDIDATES = text("""
    SELECT q.id, q.subject, q.exam_frequency, p.misses, p.stability, p.difficulty, p.last_reviewed_at
    FROM study_questions q
    LEFT JOIN study_question_progress p ON p.study_question_id = q.id AND p.user_id = q.user_id
    WHERE q.study_topic_id = :study_topic_id AND q.user_id = :user_id AND q.retired_at IS NULL
        AND EXISTS (SELECT FROM published_items i WHERE i.source_id = q.id)
        AND q.subject = coalesce(CAST(:subject_filter AS text), q.subject)
        AND (p.wrong_note = 'open' OR NOT :wrong_only)
    ORDER BY q.id
""")


def load_candidates(
    connection: Connection, user_id: int, wish: SessionStart, *, now: datetime, zone: ZoneInfo
) -> list[Candidate]:
    """Load them, with what is known of each at `now`."""
    rows = execute(connection, _CANDIDATES, wish.model_dump() | {"user_id": user_id})
    return [
        Candidate(row.id, row.subject, row.exam_frequency, row.misses or 0, _recall(row, now, zone))
        for row in rows
    ]


def _recall(row: Any, now: datetime, zone: ZoneInfo) -> float:
    if row.last_reviewed_at is None:
        return 0.0
    return retrievability(Memory(row.stability, row.difficulty), row.last_reviewed_at, now, zone)


_LEARNER = text("SELECT EXISTS (SELECT FROM users WHERE id = :user_id)")
_TOPIC = text("SELECT EXISTS (SELECT FROM study_topics WHERE id = :topic_id AND user_id = :user_id)")


def require_learner(connection: Connection, user_id: int) -> None:
    """Raise UnknownLearnerError if there is no such learner."""
    if not scalar(connection, _LEARNER, {"user_id": user_id}):
        raise UnknownLearnerError(f"there is no learner {user_id}")


def require_topic(connection: Connection, user_id: int, topic_id: int) -> None:
    """Raise UnknownTopicError if the learner has no such topic; what others have is unknown too."""
    if not scalar(connection, _TOPIC, {"user_id": user_id, "topic_id": topic_id}):
        raise UnknownTopicError(f"the learner has no topic {topic_id}")


def enter(connection: Connection, user_id: int) -> None:
    """Lock a learner, before anything of his changes: always first, the quiz session second."""
    lock_learner(connection, user_id)
    require_learner(connection, user_id)


_LOCK = text("""
    SELECT id, status, question_ids FROM study_quiz_sessions
    WHERE id = :session_id AND user_id = :user_id FOR NO KEY UPDATE
""")


def lock_session(connection: Connection, user_id: int, session_id: int) -> Any:
    """Lock a session and return its `id`, `status` and `question_ids`; the learner is locked already."""
    row = execute(connection, _LOCK, {"user_id": user_id, "session_id": session_id}).fetchone()
    if row is None:
        raise unknown_session(session_id)
    return row


def unknown_session(session_id: int) -> UnknownSessionError:
    """Say that the learner has no such session; what others have is unknown too."""
    return UnknownSessionError(f"the learner has no quiz session {session_id}")


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
    row = execute(connection, _SESSION, bound).fetchone()
    if row is None:
        raise unknown_session(session_id)
    questions = execute(connection, _QUESTIONS, bound)
    return with_snapshot(row._asdict()) | {"questions": [_question(each._asdict()) for each in questions]}


def read_closed(connection: Connection, user_id: int, session_id: int) -> dict[str, Any]:
    """Return what a closed session left: its snapshot, and when each answered question is due now."""
    bound = {"user_id": user_id, "session_id": session_id}
    (row,) = execute(connection, _SESSION, bound)
    session = with_snapshot(row._asdict())
    kept = {name: session[name] for name in ("session_id", "status", "finished_at", "snapshot")}
    return kept | {"questions": [row._asdict() for row in execute(connection, _DUE, bound)]}


def with_snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """Put a session's counts together; there are none before it is closed."""
    counts = {name: row[name] for name in COUNTS}
    rest = {name: value for name, value in row.items() if name not in counts}
    return rest | {"snapshot": None if row["status"] == "in_progress" else counts}


def _question(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("ordinal", "pub_id", "subject", "choices")}
    answer = {name: row[name] for name in ("selected", "unsure", "outcome", "answered_at")}
    return shown | {"answer": answer if row["answered"] else None}


_ABANDON = text("UPDATE study_quiz_sessions SET status = 'abandoned' WHERE id = :session_id")


def finalize(
    connection: Connection, user_id: int, session_id: int, *, now: datetime, default_zone: str
) -> dict[str, Any]:
    """Close a session as done; a question without an answer leaves nothing."""
    if _is_open(connection, user_id, session_id, end="done"):
        learner = Learner(user_id, learner_zone(connection, user_id, default_zone))
        finalize_session(connection, learner, session_id, now=now)
    return read_closed(connection, user_id, session_id)


def abandon(
    connection: Connection, user_id: int, session_id: int, *, now: datetime, default_zone: str
) -> dict[str, Any]:
    """Close a session as abandoned; what was answered counts all the same."""
    if _is_open(connection, user_id, session_id, end="abandoned"):
        execute(connection, _ABANDON, {"session_id": session_id})
        learner = Learner(user_id, learner_zone(connection, user_id, default_zone))
        finalize_session(connection, learner, session_id, now=now)
    return read_closed(connection, user_id, session_id)


def _is_open(connection: Connection, user_id: int, session_id: int, *, end: str) -> bool:
    """Lock a session and tell whether it is in progress; raise SessionClosedError if it has another end."""
    enter(connection, user_id)
    status: str = lock_session(connection, user_id, session_id).status
    if status not in {"in_progress", end}:
        raise SessionClosedError(f"the session is {status}")
    return status == "in_progress"


_GIVEN = text("""
    SELECT ordinal, selected, unsure, outcome, answered_at FROM study_question_attempts
    WHERE study_quiz_session_id = :session_id AND study_question_id = :question_id AND counted
""")

# The place of the first question without an answer: answers may come in any order.
_ADVANCE = text("""
    UPDATE study_quiz_sessions SET cursor = coalesce(
        (SELECT min(place) FROM generate_series(0, jsonb_array_length(question_ids) - 1) AS place
         WHERE place NOT IN (SELECT ordinal FROM study_question_attempts
            WHERE study_quiz_session_id = :session_id)),
        jsonb_array_length(question_ids))
    WHERE id = :session_id
""")


def submit(
    connection: Connection, user_id: int, session_id: int, answer: Submission, *, now: datetime
) -> dict[str, Any]:
    """Record an answer and return it with its outcome; the same answer again changes nothing."""
    enter(connection, user_id)
    session = lock_session(connection, user_id, session_id)
    if session.status != "in_progress":
        raise SessionClosedError(f"the session is {session.status}")
    question = _asked(connection, session.question_ids, answer)
    given = _given(connection, session_id, question)
    if given is None:
        _record(connection, session_id, _attempt(session.question_ids, question, answer, now))
        given = _given(connection, session_id, question)
    elif (given["selected"], given["unsure"]) != (answer.selected, answer.unsure):
        raise AlreadyAnsweredError("an answer stands")
    return {"pub_id": answer.pub_id} | (given or {})


def _asked(connection: Connection, question_ids: Sequence[int], answer: Submission) -> Question:
    question = resolve(connection, [answer.pub_id]).get(answer.pub_id)
    if question is None or question.id not in question_ids:
        raise NotAskedError("The session does not ask this question")
    if answer.selected is not None and answer.selected >= question.choice_count:
        raise NoSuchChoiceError(f"Input should be less than {question.choice_count}")
    return question


def _given(connection: Connection, session_id: int, question: Question) -> dict[str, Any] | None:
    bound = {"session_id": session_id, "question_id": question.id}
    row = execute(connection, _GIVEN, bound).fetchone()
    return None if row is None else row._asdict()


def _attempt(
    question_ids: Sequence[int], question: Question, answer: Submission, now: datetime
) -> PlannedAttempt:
    graded = grade(answer.selected, unsure=answer.unsure, correct_choice=question.correct_choice)
    place = question_ids.index(question.id)
    return PlannedAttempt(place, question, answer.selected, answer.unsure, *graded, now, now)


def _record(connection: Connection, session_id: int, attempt: PlannedAttempt) -> None:
    insert_attempts(connection, {session_id: [attempt]}, {attempt.ordinal})
    execute(connection, _ADVANCE, {"session_id": session_id})


REASON = "deleted in the front end"


def void(
    connection: Connection, user_id: int, session_id: int, *, now: datetime, default_zone: str
) -> dict[str, Any]:
    """Void a session, live or uploaded; one in progress is abandoned first, so that its topic is free."""
    enter(connection, user_id)
    if lock_session(connection, user_id, session_id).status == "in_progress":
        abandon(connection, user_id, session_id, now=now, default_zone=default_zone)
    void_sessions(connection, user_id, [session_id], reason=REASON, now=now, default_zone=default_zone)
    return read_session(connection, user_id, session_id)


def unvoid(connection: Connection, user_id: int, session_id: int, *, default_zone: str) -> dict[str, Any]:
    """Bring a voided session back; one that is not void stays as it is."""
    enter(connection, user_id)
    lock_session(connection, user_id, session_id)
    unvoid_sessions(connection, user_id, [session_id], default_zone=default_zone)
    return read_session(connection, user_id, session_id)


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


class Circumstances(NamedTuple):
    """What a start depends on: the clock's reading, chance, and the zone of learners without one."""

    now: datetime
    chance: Random
    default_zone: str


class Started(NamedTuple):
    """A session in progress; `new`: it was not before."""

    session_id: int
    new: bool


def start(connection: Connection, user_id: int, wish: SessionStart, given: Circumstances) -> Started:
    """Start a session; where one is in progress in this topic, return that, whatever it asks."""
    enter(connection, user_id)
    require_topic(connection, user_id, wish.study_topic_id)
    if found := _in_progress(connection, user_id, wish):
        return Started(found, new=False)
    zone = learner_zone(connection, user_id, given.default_zone)
    candidates = load_candidates(connection, user_id, wish, now=given.now, zone=zone)
    chosen = choose(candidates, wish.quiz_mode, wish.target_per_subject, given.chance)
    if not chosen:
        raise NothingToAskError("no question of the topic fits")
    if made := _insert(connection, user_id, wish, chosen, given.now):
        return Started(made, new=True)
    if found := _in_progress(connection, user_id, wish):  # somebody passed the learner's lock before us
        return Started(found, new=False)
    raise OvertakenError("a session was started and closed meanwhile")


def _in_progress(connection: Connection, user_id: int, wish: SessionStart) -> int | None:
    found: int | None = scalar(connection, _IN_PROGRESS, wish.model_dump() | {"user_id": user_id})
    return found


def _insert(
    connection: Connection, user_id: int, wish: SessionStart, chosen: Sequence[Candidate], now: datetime
) -> int | None:
    snapshot = {
        "question_ids": json.dumps([each.question_id for each in chosen]),
        "subjects": json.dumps(Counter(each.subject for each in chosen)),
    }
    bound = wish.model_dump() | snapshot | {"user_id": user_id, "now": now}
    made: int | None = scalar(connection, _INSERT, bound)
    return made
