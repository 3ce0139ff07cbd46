"""Add the attempts of an ingested upload that were skipped, once the catalog knows what they answered."""

import json
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, text

from shared.case import Case
from shared.catalog import resolve
from shared.errors import OvertakenError, ReplayRefusedError, UnknownUploadError
from shared.late_attempts import LateAttempts, find_late
from shared.late_sessions import demote, extend_sessions, logged_attempts
from shared.payload.upload import Upload
from shared.plan import make_plan
from shared.study.finalize import finalize_sessions
from shared.study.store import Learner, load_cached, lock_owner
from shared.uploads.record import Waiting
from shared.uploads.status import Status
from shared.viewer_sessions import insert_attempts, insert_sessions, sessions_of_upload

_LOCK = text("""
    SELECT status, payload, received_at, user_id FROM uploads
    WHERE client_session_uuid = :id FOR NO KEY UPDATE
""")

_VOIDED = text("""
    SELECT 1 FROM study_quiz_sessions
    WHERE client_session_uuid = :client_session_uuid
        AND voided_at IS NOT NULL AND superseded_at IS NULL LIMIT 1
""")

_TELL = text("""
    UPDATE uploads SET result = CAST(:result AS jsonb)
    WHERE client_session_uuid = :id AND status = 'ingested'
""")


def add_skipped(engine: Engine, client_session_uuid: UUID, *, now: datetime, default_zone: str) -> int:
    """Add what an ingested upload lacks, in one transaction; return how many attempts that were."""
    with engine.begin() as connection:
        return add_skipped_within(connection, client_session_uuid, now=now, default_zone=default_zone)


def add_skipped_within(
    connection: Connection, client_session_uuid: UUID, *, now: datetime, default_zone: str
) -> int:
    """Add, within the caller's transaction, the attempts that can be graded by now; return how many.

    Progress becomes what it would be had the catalog been complete from the start. Locks are taken in the
    order of a replay. Raises UnknownUploadError, or ReplayRefusedError, before anything is written.
    """
    learner, case = _open(connection, client_session_uuid, default_zone)
    late = find_late(case.plan, logged_attempts(connection, client_session_uuid))
    if late.topics:
        _refuse_voided(connection, client_session_uuid)
        _learn(connection, case, learner, late, now)
        _tell(connection, case, learner, late)
    return late.size


def _open(connection: Connection, client_session_uuid: UUID, default_zone: str) -> tuple[Learner, Case]:
    row = connection.execute(_LOCK, {"id": client_session_uuid}).one_or_none()
    if row is None:
        raise UnknownUploadError(f"there is no upload {client_session_uuid}")
    _refuse(client_session_uuid, row)
    upload = Upload.model_validate(row.payload)
    pub_ids = {attempt.pub_id for attempt in upload.attempts}
    learner = lock_owner(connection, pub_ids, default_zone)
    questions = resolve(connection, pub_ids)
    waiting = Waiting(client_session_uuid, row.payload, row.received_at)
    case = Case(waiting, upload, questions, make_plan(upload, row.received_at, questions))
    if case.learner != (learner and learner.id):
        raise OvertakenError("a question changed its owner meanwhile")
    if learner is None or learner.id != row.user_id:
        raise ReplayRefusedError(f"the questions of {client_session_uuid} are not all its learner's by now")
    return learner, case


def _refuse(client_session_uuid: UUID, row: Row[tuple[object, ...]]) -> None:
    if row.status != Status.INGESTED:
        raise ReplayRefusedError(f"{client_session_uuid} is {row.status}: replay it as a whole")
    if row.payload is None:
        raise ReplayRefusedError(f"the payload of {client_session_uuid} is purged")


def _refuse_voided(connection: Connection, client_session_uuid: UUID) -> None:
    if connection.execute(_VOIDED, {"client_session_uuid": str(client_session_uuid)}).one_or_none():
        raise ReplayRefusedError(f"{client_session_uuid} is voided: unvoid it first")


def _learn(connection: Connection, case: Case, learner: Learner, late: LateAttempts, now: datetime) -> None:
    """Log the late attempts, and finalize every session that is new or whose attempts changed.

    A session that gains attempts has its counts taken again, as of its place in time; the others keep theirs.
    """
    uuid = case.waiting.client_session_uuid
    standing = {each["study_topic_id"]: each["session_id"] for each in sessions_of_upload(connection, uuid)}
    fresh = {topic: attempts for topic, attempts in late.topics.items() if topic not in standing}
    demote(connection, late.demoted)
    plan = replace(case.plan, topics=fresh, counted=late.counted)
    ids = insert_sessions(connection, uuid, learner.id, plan, now=now) if fresh else {}
    joined = {standing[topic]: late.topics[topic] for topic in late.topics.keys() & standing.keys()}
    insert_attempts(connection, joined, late.counted)
    changed = sorted(joined.keys() | {each.session_id for each in late.demoted})
    extend_sessions(connection, changed, case.plan.finished_at)
    finalize_sessions(connection, learner, [*changed, *ids.values()], now=now)


def _tell(connection: Connection, case: Case, learner: Learner, late: LateAttempts) -> None:
    uuid = case.waiting.client_session_uuid
    told = replace(case, plan=replace(case.plan, fates=late.fates))
    sessions = sessions_of_upload(connection, uuid)
    for session in sessions:
        del session["user_id"]
    cached = load_cached(connection, learner.id, case.reviewed)
    due = {question: each.progress.due for question, each in cached.items()}
    connection.execute(_TELL, {"id": uuid, "result": json.dumps(told.result(sessions, due))})
