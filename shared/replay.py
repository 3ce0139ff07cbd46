"""Replay one upload: THE transaction. Everything of it commits, or nothing does."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from shared.case import Case
from shared.catalog import resolve
from shared.errors import OvertakenError
from shared.payload.upload import Upload
from shared.plan import Plan, make_plan
from shared.study.finalize import finalize_sessions
from shared.study.store import Learner, load_cached, lock_owner
from shared.uploads.record import End, Waiting, close, lock
from shared.uploads.status import Status
from shared.viewer_sessions import insert_sessions, sessions_of_upload


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: the upload's new status, and how many questions it folded from their whole history.

    `plan`: what its attempts became; None where they were in the log already.
    """

    status: Status
    plan: Plan | None
    late: int = 0


def replay(engine: Engine, client_session_uuid: UUID, *, now: datetime, default_zone: str) -> Replayed | None:
    """Bring a `received` upload to its final status; leave any other as it is, and return None.

    Locks are taken in the order upload, learner, quiz session, so that no two replays wait for each other in
    a ring. Whatever can reject comes before the first write.
    """
    with engine.begin() as connection:
        return replay_within(connection, client_session_uuid, now=now, default_zone=default_zone)


def replay_within(
    connection: Connection, client_session_uuid: UUID, *, now: datetime, default_zone: str
) -> Replayed | None:
    """Replay within the caller's transaction, as `replay` does."""
    waiting = lock(connection, client_session_uuid)
    return _conclude(connection, waiting, now, default_zone) if waiting else None


def _conclude(connection: Connection, waiting: Waiting, now: datetime, default_zone: str) -> Replayed:
    upload = Upload.model_validate(waiting.payload)
    learner, case = _open(connection, waiting, upload, default_zone)
    if sessions := sessions_of_upload(connection, waiting.client_session_uuid):
        _recall(connection, case, sessions, now)
        return Replayed(Status.INGESTED, None)
    if case.refusal or learner is None:
        close(connection, waiting, End(Status.REJECTED, now, case.learner, case.result(), case.refusal))
        return Replayed(Status.REJECTED, case.plan)
    return Replayed(Status.INGESTED, case.plan, _learn(connection, case, learner, now))


def _open(
    connection: Connection, waiting: Waiting, upload: Upload, default_zone: str
) -> tuple[Learner | None, Case]:
    """Resolve the questions under their owner's lock; with several owners nothing will be written."""
    pub_ids = {attempt.pub_id for attempt in upload.attempts}
    learner = lock_owner(connection, pub_ids, default_zone)
    questions = resolve(connection, pub_ids)
    case = Case(waiting, upload, questions, make_plan(upload, waiting.received_at, questions))
    if case.learner != (learner and learner.id):
        raise OvertakenError("a question changed its owner meanwhile")
    return learner, case


def _learn(connection: Connection, case: Case, learner: Learner, now: datetime) -> int:
    """Write the upload's sessions and progress; return how many questions were late."""
    ids = insert_sessions(connection, case.waiting.client_session_uuid, learner.id, case.plan, now=now)
    done = finalize_sessions(connection, learner, [ids[topic] for topic in case.plan.topics], now=now)
    due = {question: day for each in done for question, day in each.due.items()}
    result = case.result([each.snapshot for each in done], due)
    close(connection, case.waiting, End(Status.INGESTED, now, learner.id, result))
    return sum(each.late for each in done)


def _recall(connection: Connection, case: Case, sessions: list[dict[str, Any]], now: datetime) -> None:
    """Close an upload whose sessions are there already: its row was lost and sent again, or restored."""
    user_id = {session.pop("user_id") for session in sessions}.pop()
    cached = load_cached(connection, user_id, case.reviewed)
    due = {question: each.progress.due for question, each in cached.items()}
    close(connection, case.waiting, End(Status.INGESTED, now, user_id, case.result(sessions, due)))
