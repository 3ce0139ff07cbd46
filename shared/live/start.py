"""Start a session, or take up the one that is in progress: one for each learner and topic."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import NamedTuple

from sqlalchemy import Connection, text

from shared.errors import OvertakenError
from shared.live.candidates import load_candidates
from shared.live.choice import Candidate, choose
from shared.live.errors import NothingToAskError
from shared.live.forms import SessionStart
from shared.live.learner import enter, require_topic
from shared.study.store import learner_zone

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
    found: int | None = connection.scalar(_IN_PROGRESS, wish.model_dump() | {"user_id": user_id})
    return found


def _insert(
    connection: Connection, user_id: int, wish: SessionStart, chosen: Sequence[Candidate], now: datetime
) -> int | None:
    snapshot = {
        "question_ids": json.dumps([each.question_id for each in chosen]),
        "subjects": json.dumps(Counter(each.subject for each in chosen)),
    }
    bound = wish.model_dump() | snapshot | {"user_id": user_id, "now": now}
    made: int | None = connection.scalar(_INSERT, bound)
    return made
