"""Replay one upload in one transaction: all of its effects are committed, or none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from shared import uploads
from shared.attempts import insert_sessions, load_questions, sessions_of_upload
from shared.errors import OvertakenError
from shared.payload import Upload
from shared.plan import SKIPPED, Fate, Plan, Question, make_plan
from shared.study.finalize import finalize_sessions
from shared.study.store import load_cached, lock_owner


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: the upload's new status, and how many questions it folded from their whole history.

    `plan`: what its attempts became; None where they were in the log already.
    """

    status: uploads.Status
    plan: Plan | None
    late: int = 0


def replay(
    connection: Connection, client_session_uuid: UUID, *, now: datetime, default_zone: str
) -> Replayed | None:
    """Bring a `received` upload to its final status; leave any other as it is, and return None.

    Locks are taken in the order upload, learner, quiz session, so that no two replays
    deadlock. Whatever can reject the upload comes before the first write.
    """
    received = uploads.lock(connection, client_session_uuid)
    if received is None:
        return None
    upload = Upload.model_validate(received.payload)
    pub_ids = {attempt.pub_id for attempt in upload.attempts}
    learner = lock_owner(connection, pub_ids, default_zone)
    questions = load_questions(connection, pub_ids)
    owners = {question.user_id for question in questions.values()}
    # To a sender who is not trusted, nothing tells another learner's questions from unknown ones.
    is_others = received.learner_id is not None and bool(owners - {received.learner_id})
    owner = owners.pop() if len(owners) == 1 else None
    if owner != (learner and learner.id):
        raise OvertakenError("a question changed its owner during the replay")
    zone = learner.zone if learner else ZoneInfo(default_zone)
    shift = received.clock_shift
    known = {} if is_others else questions
    plan = make_plan(upload, received.received_at, known, zone, clock_shift=shift)

    # Its sessions may be there although its row is new: the row was lost and the upload sent again, or the
    # database was restored in part. Or they stand under the learner's other uuid: see `uploads.own_uuid`.
    other_uuid, user_id = upload.client_session_uuid, learner.id if learner and not is_others else None
    if user_id is not None and other_uuid == client_session_uuid:
        other_uuid = uploads.own_uuid(other_uuid, user_id)
    sessions = sessions_of_upload(connection, client_session_uuid, other_uuid=other_uuid, user_id=user_id)
    if sessions:
        user_id = {session.pop("user_id") for session in sessions}.pop()
        reviewed = [attempt.question.id for topic in plan.topics.values() for attempt in topic]
        cached = load_cached(connection, user_id, reviewed)
        due = {question: each.progress.due for question, each in cached.items()}
        result = _result(upload, plan, questions, sessions, due)
        uploads.close(connection, received, uploads.End(uploads.Status.INGESTED, now, user_id, result))
        return Replayed(uploads.Status.INGESTED, None)

    if learner is None or not plan.topics:
        reason = "no_usable_attempt" if learner else "mixed_owners" if questions else "unknown_questions"
        reason = uploads.OTHER_LEARNER if is_others else reason
        plan = plan.rejected(Fate.MIXED_OWNERS)
        result = _result(upload, plan, questions, [], {})
        uploads.close(connection, received, uploads.End(uploads.Status.REJECTED, now, owner, result, reason))
        return Replayed(uploads.Status.REJECTED, plan)

    ids = insert_sessions(connection, client_session_uuid, learner.id, plan, now=now)
    done = finalize_sessions(connection, learner.id, [ids[topic] for topic in plan.topics], now=now)
    due = {question: day for each in done for question, day in each.due.items()}
    result = _result(upload, plan, questions, [each.snapshot for each in done], due)
    uploads.close(connection, received, uploads.End(uploads.Status.INGESTED, now, learner.id, result))
    return Replayed(uploads.Status.INGESTED, plan, sum(each.late for each in done))


def _result(
    upload: Upload,
    plan: Plan,
    questions: Mapping[str, Question],
    sessions: Iterable[Mapping[str, Any]],
    due: Mapping[int, date],
) -> dict[str, Any]:
    """Return what became of the upload, as JSON values; `due` maps question ids to their new due dates."""
    return {
        "topics": list(sessions),
        "attempts": [
            {"pub_id": attempt.pub_id}
            | ({"status": "skipped", "reason": fate} if fate in SKIPPED else {"status": fate})
            for attempt, fate in zip(upload.attempts, plan.fates, strict=True)
        ],
        "questions": [
            {"pub_id": pub_id, "due": due[question.id].isoformat()}
            for pub_id, question in sorted(questions.items())
            if question.id in due
        ],
    }
