"""Replay one upload: THE transaction. Everything of it commits, or nothing does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from shared.attempts import insert_sessions, sessions_of_upload
from shared.catalog import resolve
from shared.errors import OvertakenError
from shared.payload import Upload
from shared.plan import SKIPPED, Fate, Plan, Question, make_plan
from shared.study.finalize import finalize_sessions
from shared.study.store import Learner, load_cached, lock_owner
from shared.uploads import End, Status, Waiting, close, lock


@dataclass(frozen=True)
class Case:
    """An upload with all that its replay decides on."""

    waiting: Waiting
    upload: Upload
    questions: Mapping[str, Question]
    plan: Plan

    @cached_property
    def owners(self) -> set[int]:
        """Return the learners to whom the questions belong."""
        return {question.user_id for question in self.questions.values()}

    @property
    def learner(self) -> int | None:
        """Return the owner, if there is but one."""
        return next(iter(self.owners)) if len(self.owners) == 1 else None

    @property
    def reviewed(self) -> set[int]:
        """Return the questions whose progress it moves."""
        return {attempt.question.id for attempts in self.plan.topics.values() for attempt in attempts}

    @property
    def refusal(self) -> str | None:
        """Return the stable code of why this upload cannot succeed as things stand."""
        if not self.questions:
            return "unknown_questions"
        if len(self.owners) > 1:
            return "mixed_owners"
        return None if self.plan.topics else "no_usable_attempt"

    def result(
        self, snapshots: Sequence[Mapping[str, Any]] = (), due: Mapping[int, date] | None = None
    ) -> dict[str, Any]:
        """Tell what became of the upload, as JSON values; `due` maps question ids to their new days."""
        days = due or {}
        return {
            "topics": [dict(snapshot) for snapshot in snapshots],
            "attempts": [
                {"pub_id": attempt.pub_id} | _told(fate)
                for attempt, fate in zip(self.upload.attempts, self.plan.fates, strict=True)
            ],
            "questions": [
                {"pub_id": pub_id, "due": days[question.id].isoformat()}
                for pub_id, question in sorted(self.questions.items())
                if question.id in days
            ],
        }


def _told(fate: Fate) -> dict[str, str]:
    return {"status": "skipped", "reason": fate} if fate in SKIPPED else {"status": fate}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: the upload's new status, and how many questions it folded from their whole history.

    `plan`: what its attempts became; None where they were in the log already.
    """

    status: Status
    plan: Plan | None
    late: int = 0


def replay(
    connection: Connection, client_session_uuid: UUID, *, now: datetime, default_zone: str
) -> Replayed | None:
    """Bring a `received` upload to its final status; leave any other as it is, and return None.

    Locks are taken in the order upload, learner, quiz session, so that no two replays wait for each other in
    a ring. Whatever can reject comes before the first write.
    """
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
