"""A replay written by hand for speed alone: psycopg, pipelined, in as few statements as its effects allow.

It takes only what benchmarks.lessons makes: known questions, each once, and newer than what is known of them.
"""

import json
from collections import Counter, defaultdict
from datetime import date, datetime
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from psycopg import Connection, Cursor

from benchmarks.peers import by_hand_sql as sql
from shared.study.grading import Outcome, grade
from shared.study.scheduling import SCHEDULER, Memory, review

COUNTS = ("correct", "wrong", "unsure", "newly_correct", "recovered", "relapsed", "chronic")
COUNT_COLUMNS = [f"{name}_remaining_count" if name == "chronic" else f"{name}_count" for name in COUNTS]


class _Case(NamedTuple):
    upload: UUID
    user_id: int
    zone: str
    now: datetime


def replay(connection: Connection, upload: UUID, now: datetime) -> None:
    """Replay one upload in four round trips."""
    with connection.transaction(), connection.pipeline():
        cursor = connection.execute(sql.UPLOAD, [upload], prepare=True)
        ((payload,),) = cursor.fetchall()
        attempts = payload["attempts"]
        ids = [attempt["pub_id"] for attempt in attempts]
        learners = connection.execute(sql.LEARNER, [ids], prepare=True)
        questions = connection.execute(sql.QUESTIONS, [ids], prepare=True)
        ((user_id, zone),) = learners.fetchall()
        known = {row[0]: row for row in questions}
        answers = [(known[attempt["pub_id"]], attempt) for attempt in attempts]
        _save(connection, _Case(upload, user_id, zone, now), answers)


def _save(connection: Connection, case: _Case, answers: list[Any]) -> None:
    log, progress, topics = [], [], defaultdict[int, list[Any]](list)
    where = ZoneInfo(case.zone)
    for ordinal, (question, attempt) in enumerate(answers):
        at = datetime.fromisoformat(attempt["answered_at"])
        selected, unsure = attempt["selected"], attempt["unsure"]
        outcome, rating = grade(selected, unsure=unsure, correct_choice=question[4])
        row, pattern = _fold(question, outcome, int(rating), at, where)
        topic = question[2]
        topics[topic].append((question[1], question[3], outcome, pattern, at))
        log.append((topic, question[1], ordinal, selected, unsure, outcome, int(rating), at))
        progress.append(row)
    sessions = [_session(topic, each) for topic, each in topics.items()]
    logged = _insert(connection, [case.user_id, str(case.upload), case.now], sessions, log)
    kept = [case.user_id, SCHEDULER, case.zone]
    connection.execute(sql.PROGRESS, [*kept, *map(list, zip(*progress, strict=True))], prepare=True)
    result = _result(dict(logged.fetchall()), sessions, answers, progress)
    connection.execute(sql.CLOSE, [result, case.user_id, case.now, case.upload], prepare=True)


def _insert(connection: Connection, whose: list[Any], sessions: list[Any], log: list[Any]) -> Cursor[Any]:
    columns = [*map(list, zip(*sessions, strict=True)), *map(list, zip(*log, strict=True))]
    return connection.execute(sql.LOG, [*whose, *columns], prepare=True)


def _fold(
    question: Any, outcome: Outcome, rating: int, at: datetime, zone: ZoneInfo
) -> tuple[tuple[Any, ...], str | None]:
    """Return a row of progress, and the pattern of the answer."""
    correct, miss = outcome is Outcome.CORRECT, rating == 1
    if question[5] is None:
        memory, due = review(None, None, at, rating, zone)  # type: ignore[arg-type]  # an IntEnum's value
        opened = None if correct else at
        row = (1, int(miss), int(correct), int(miss), int(correct), "none" if correct else "open", opened)
        pattern = "newly_correct" if correct else None
        return (question[1], memory.stability, memory.difficulty, due, at, *row, None), pattern
    stability, difficulty, last, reviews, misses, corrects, missed, right, note, opened, closed = question[5:]
    if at <= last:
        raise ValueError("this answer is late, and the hand-written replay takes none")
    memory, due = review(Memory(stability, difficulty), last, at, rating, zone)  # type: ignore[arg-type]
    pattern = None
    if correct:
        pattern = "newly_correct" if not corrects else "recovered" if missed else None
    elif miss:
        pattern = "relapsed" if right else "chronic" if missed > 1 else None
    missed, right = missed + 1 if miss else 0, right + 1 if correct else 0
    if not correct and note != "open":
        note, opened, closed = "open", at, None
    elif correct and note == "open" and right > 1:
        note, closed = "closed", at
    counts = (reviews + 1, misses + miss, corrects + correct, missed, right)
    return (question[1], memory.stability, memory.difficulty, due, at, *counts, note, opened, closed), pattern


def _session(topic: int, answers: list[Any]) -> tuple[Any, ...]:
    ids, subjects, outcomes, patterns, times = zip(*answers, strict=True)
    counts = Counter(outcomes) + Counter(patterns)
    words = json.dumps(ids), json.dumps(Counter(subjects))
    return (topic, *words, len(ids), max(times), *(counts[name] for name in COUNTS))


def _result(ids: dict[int, int], sessions: list[Any], answers: list[Any], progress: list[Any]) -> str:
    due: dict[int, date] = {row[0]: row[3] for row in progress}
    days = [{"pub_id": q[0], "due": due[q[1]].isoformat()} for q, _ in answers]
    topics = [
        {"session_id": ids[topic], "study_topic_id": topic} | dict(zip(COUNT_COLUMNS, counts, strict=True))
        for topic, _, _, _, _, *counts in sessions
    ]
    fates = [{"pub_id": question[0], "status": "counted"} for question, _ in answers]
    questions = sorted(days, key=itemgetter("pub_id"))
    return json.dumps({"topics": topics, "attempts": fates, "questions": questions})
