"""Bring failed uploads back to life: as they were when they came, with every try ahead of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, TextClause, text

from shared.attempts import insert_attempts, insert_sessions, sessions_of_upload
from shared.catalog import resolve
from shared.db import execute, scalar, scalars
from shared.errors import OvertakenError, ReplayRefusedError, UnknownConflictError, UnknownUploadError
from shared.ops.search import Listed, Search, search
from shared.payload import Upload
from shared.plan import Fate, Plan, PlannedAttempt, make_plan
from shared.replay import Case
from shared.study.finalize import finalize_sessions
from shared.study.store import Learner, load_cached, lock_learner, lock_owner
from shared.study.voiding import void_sessions
from shared.uploads import Status, Waiting

_LIST = text("""
    SELECT c.id, c.client_session_uuid, c.received_at, u.received_at AS first_received_at, u.status
    FROM upload_conflicts c JOIN uploads u USING (client_session_uuid) ORDER BY c.id DESC LIMIT :limit
""")

_OPEN = text("""
    SELECT c.id, c.client_session_uuid, c.received_at, c.payload, u.received_at AS first_received_at,
        u.status AS first_status, u.payload AS first_payload
    FROM upload_conflicts c JOIN uploads u USING (client_session_uuid) WHERE c.id = :id
""")

_DISCARD = text("DELETE FROM upload_conflicts WHERE id = :id")


class ListedConflict(NamedTuple):
    """A conflict in a list; `status`: where the upload itself stands."""

    id: int
    client_session_uuid: UUID
    received_at: datetime
    first_received_at: datetime
    status: str


@dataclass(frozen=True, slots=True)
class OpenedConflict:
    """A conflict beside what stands; a payload is None once it is purged."""

    id: int
    client_session_uuid: UUID
    received_at: datetime
    payload: dict[str, Any] | None
    first_received_at: datetime
    first_status: str
    first_payload: dict[str, Any] | None


def list_conflicts(connection: Connection, *, limit: int) -> list[ListedConflict]:
    """List conflicts, the newest first."""
    return [ListedConflict(*row) for row in execute(connection, _LIST, {"limit": limit})]


def open_conflict(connection: Connection, conflict: int) -> OpenedConflict:
    """Look a conflict up; raise UnknownConflictError if there is none."""
    if (row := execute(connection, _OPEN, {"id": conflict}).fetchone()) is None:
        raise UnknownConflictError(f"there is no conflict {conflict}")
    return OpenedConflict(**row._asdict())


def discard_conflict(connection: Connection, conflict: int) -> None:
    """Throw away what came second; raise UnknownConflictError if it is gone."""
    if not execute(connection, _DISCARD, {"id": conflict}).rowcount:
        raise UnknownConflictError(f"there is no conflict {conflict}")


REASON = "superseded: other content was accepted under the same uuid"

_LOCK = text("SELECT FROM uploads WHERE client_session_uuid = :uuid FOR NO KEY UPDATE")

_SESSIONS = text("""
    SELECT id, user_id FROM study_quiz_sessions
    WHERE client_session_uuid = CAST(:uuid AS text) AND superseded_at IS NULL
""")

_SUPERSEDE = text("""
    UPDATE study_quiz_sessions SET superseded_at = :now WHERE id = ANY(CAST(:session_ids AS bigint[]))
""")

# Under a new id: whoever accepts the same conflict once more shall not swap the two back.
_KEEP_FIRST = text("""
    INSERT INTO upload_conflicts (client_session_uuid, content_hash, payload, received_at, user_id)
    SELECT client_session_uuid, content_hash, payload, received_at, user_id FROM uploads
    WHERE client_session_uuid = :uuid
    ON CONFLICT (client_session_uuid, content_hash) DO NOTHING
""")

# No try is counted yet: unlike a new upload, it has had no first ring that counts as one.
_REPLACE = text("""
    UPDATE uploads SET payload = c.payload, content_hash = c.content_hash, received_at = c.received_at,
        status = 'received', tries = 0, next_try_at = now(), finalized_at = NULL,
        result = NULL, reason = NULL, last_error = NULL, user_id = c.user_id
    FROM upload_conflicts c
    WHERE c.id = :conflict AND uploads.client_session_uuid = c.client_session_uuid
""")


def accept_conflict(connection: Connection, conflict: int, *, now: datetime, default_zone: str) -> UUID:
    """Set an upload to a conflict's content, for the sweeper to ring, and keep the first as the conflict.

    Locks are taken in the order of a replay. Returns the upload's uuid; raises UnknownConflictError, and
    ReplayRefusedError where the payload is purged.
    """
    uuid = open_conflict(connection, conflict).client_session_uuid
    execute(connection, _LOCK, {"uuid": uuid})
    if open_conflict(connection, conflict).payload is None:
        raise ReplayRefusedError(f"the payload of conflict {conflict} is purged")
    _supersede(connection, uuid, now, default_zone)
    execute(connection, _KEEP_FIRST, {"uuid": uuid})
    execute(connection, _REPLACE, {"conflict": conflict})
    discard_conflict(connection, conflict)
    return uuid


def _supersede(connection: Connection, uuid: UUID, now: datetime, default_zone: str) -> None:
    sessions = list(execute(connection, _SESSIONS, {"uuid": uuid}))
    if not sessions:
        return
    ids, learner = [session.id for session in sessions], sessions[0].user_id
    lock_learner(connection, learner)
    void_sessions(connection, learner, ids, reason=REASON, now=now, default_zone=default_zone)
    execute(connection, _SUPERSEDE, {"session_ids": ids, "now": now})


class LoggedAttempt(NamedTuple):
    """An attempt of the upload that is in the log; `question_id` is what it was taken for then."""

    ordinal: int
    session_id: int
    question_id: int
    answered_at_raw: datetime
    counted: bool


@dataclass(frozen=True, slots=True)
class LateAttempts:
    """What is new to the log.

    `topics`: the attempts of each topic that were skipped and can be graded by now; `counted`: the ordinals
    of the whole upload that count now; `demoted`: logged attempts that do so no more, as an earlier answer to
    their question came to light.
    """

    topics: dict[int, list[PlannedAttempt]]
    counted: set[int]
    demoted: list[LoggedAttempt]
    fates: list[Fate]

    @property
    def size(self) -> int:
        """Return how many they are."""
        return sum(map(len, self.topics.values()))


def find_late(plan: Plan, logged: Sequence[LoggedAttempt]) -> LateAttempts:
    """Compare what the catalog makes of an upload by now with what is in the log.

    What is logged stays graded as it was, and counts as before unless an earlier answer to its question
    joins it.
    """
    known = {each.ordinal for each in logged}
    topics = {
        topic: late
        for topic, attempts in plan.topics.items()
        if (late := [attempt for attempt in attempts if attempt.ordinal not in known])
    }
    late = [attempt for attempts in topics.values() for attempt in attempts]
    counted = _count(logged, late)
    demoted = [each for each in logged if each.counted and each.ordinal not in counted]
    usable = known | {attempt.ordinal for attempt in late}
    fates = [
        _fate(ordinal in counted) if ordinal in usable else fate for ordinal, fate in enumerate(plan.fates)
    ]
    return LateAttempts(topics, counted, demoted, fates)


def _count(logged: Sequence[LoggedAttempt], late: Sequence[PlannedAttempt]) -> set[int]:
    """Pick the first answer to each question: by the time as sent, then by place in the upload."""
    touched = {attempt.question.id for attempt in late}
    answers = [(each.answered_at_raw, each.ordinal, each.question_id) for each in logged]
    answers += [(each.answered_at_raw, each.ordinal, each.question.id) for each in late]
    first: dict[int, int] = {}
    for _, ordinal, question in sorted(answers):
        first.setdefault(question, ordinal)
    untouched = {each.ordinal for each in logged if each.counted and each.question_id not in touched}
    return untouched | {first[question] for question in touched}


def _fate(counted: bool) -> Fate:  # noqa: FBT001  # it is what is asked
    return Fate.COUNTED if counted else Fate.PRACTICE


_LOGGED = text("""
    SELECT a.ordinal, a.study_quiz_session_id, a.study_question_id, a.answered_at_raw, a.counted
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE s.client_session_uuid = :client_session_uuid AND s.superseded_at IS NULL ORDER BY a.ordinal
""")

_DEMOTE = text("""
    UPDATE study_question_attempts a SET counted = FALSE
    FROM unnest(CAST(:session_ids AS bigint[]), CAST(:ordinals AS int[])) AS demoted (session_id, place)
    WHERE a.study_quiz_session_id = session_id AND a.ordinal = place
""")

# As a replay writes them: the counted questions in their order, and the upload's end or the last answer's.
_EXTEND = text("""
    UPDATE study_quiz_sessions s SET
        question_ids = coalesce((SELECT jsonb_agg(a.study_question_id ORDER BY a.ordinal)
            FROM study_question_attempts a WHERE a.study_quiz_session_id = s.id AND a.counted), '[]'),
        cursor = (SELECT count(*)
            FROM study_question_attempts a WHERE a.study_quiz_session_id = s.id AND a.counted),
        subject_distribution = coalesce((SELECT jsonb_object_agg(subject, times) FROM (
            SELECT q.subject, count(*) AS times
            FROM study_question_attempts a JOIN study_questions q ON q.id = a.study_question_id
            WHERE a.study_quiz_session_id = s.id AND a.counted GROUP BY q.subject) AS subjects), '{}'),
        finished_at = coalesce(CAST(:finished_at AS timestamptz), (SELECT max(a.answered_at)
            FROM study_question_attempts a WHERE a.study_quiz_session_id = s.id))
    WHERE s.id = ANY(CAST(:session_ids AS bigint[]))
""")

# Finalize asks for a session's follow-ups but once: what was told already does not know of the late answers.
_ASK_ANEW = text("""
    DELETE FROM study_followups
    WHERE study_quiz_session_id = ANY(CAST(:session_ids AS bigint[])) AND status <> 'waiting'
""")


def logged_attempts(connection: Connection, client_session_uuid: UUID) -> list[LoggedAttempt]:
    """Return what of an upload is in the log, in the order as sent."""
    rows = execute(connection, _LOGGED, {"client_session_uuid": str(client_session_uuid)})
    return [LoggedAttempt(*row) for row in rows]


def demote(connection: Connection, demoted: Sequence[LoggedAttempt]) -> None:
    """Let logged attempts count no more."""
    if demoted:
        bound = {
            "session_ids": [each.session_id for each in demoted],
            "ordinals": [each.ordinal for each in demoted],
        }
        execute(connection, _DEMOTE, bound)


def extend_sessions(connection: Connection, session_ids: Sequence[int], finished_at: datetime | None) -> None:
    """Bring sessions whose attempts changed to what they would be had they had them from the start.

    The caller finalizes them again, follow-ups included.
    """
    if session_ids:
        execute(connection, _EXTEND, {"session_ids": session_ids, "finished_at": finished_at})
        execute(connection, _ASK_ANEW, {"session_ids": session_ids})


_LOCK_LATE = text("""
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


def add_skipped(
    connection: Connection, client_session_uuid: UUID, *, now: datetime, default_zone: str
) -> int:
    """Add what an ingested upload lacks and can be graded by now; return how many attempts that were.

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
    row = execute(connection, _LOCK_LATE, {"id": client_session_uuid}).fetchone()
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


def _refuse(client_session_uuid: UUID, row: Any) -> None:
    if row.status != Status.INGESTED:
        raise ReplayRefusedError(f"{client_session_uuid} is {row.status}: replay it as a whole")
    if row.payload is None:
        raise ReplayRefusedError(f"the payload of {client_session_uuid} is purged")


def _refuse_voided(connection: Connection, client_session_uuid: UUID) -> None:
    if execute(connection, _VOIDED, {"client_session_uuid": str(client_session_uuid)}).fetchone():
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
    execute(connection, _TELL, {"id": uuid, "result": json.dumps(told.result(sessions, due))})


BATCH = 500  # rows locked at once: so few that a running system does not notice

# Other content that came lately is not old, however old the upload: an operator is still to decide.
_COUNT = text("""
    SELECT (SELECT count(*) FROM uploads
        WHERE status = :status AND finalized_at < :before AND payload IS NOT NULL)
    + (SELECT count(*) FROM upload_conflicts c JOIN uploads u USING (client_session_uuid)
        WHERE u.status = :status AND u.finalized_at < :before
            AND c.received_at < :before AND c.payload IS NOT NULL)
""")

# The row and its hash stay: what is sent again is still known, and other content still a conflict.
_PURGE_UPLOADS = text("""
    WITH due AS (
        SELECT client_session_uuid FROM uploads
        WHERE status = :status AND finalized_at < :before AND payload IS NOT NULL
            AND client_session_uuid >= :start
        ORDER BY client_session_uuid LIMIT :batch FOR UPDATE SKIP LOCKED
    )
    UPDATE uploads SET payload = NULL FROM due
    WHERE uploads.client_session_uuid = due.client_session_uuid
    RETURNING uploads.client_session_uuid
""")

# The upload is locked too: whoever accepts a conflict holds it, and reads the payload.
_PURGE_CONFLICTS = text("""
    WITH due AS (
        SELECT c.id FROM upload_conflicts c JOIN uploads u USING (client_session_uuid)
        WHERE u.status = :status AND u.finalized_at < :before
            AND c.received_at < :before AND c.payload IS NOT NULL AND c.id >= :start
        ORDER BY c.id LIMIT :batch FOR UPDATE SKIP LOCKED
    )
    UPDATE upload_conflicts SET payload = NULL FROM due WHERE upload_conflicts.id = due.id
    RETURNING upload_conflicts.id
""")


def count_purgeable(connection: Connection, status: Status, *, before: datetime) -> int:
    """Count the payloads that would be purged: of uploads of a final status, and of their conflicts."""
    return int(scalar(connection, _COUNT, {"status": status, "before": before}))


def purge(engine: Engine, status: Status, *, before: datetime, batch: int = BATCH) -> Iterator[int]:
    """Purge payloads of uploads that ended before a time, and of what had come under their uuids by then.

    Takes an engine, as each batch commits by itself: no lock is held for longer than a batch takes. Yields
    the size of each. What somebody else holds is passed over.
    """
    bound = {"status": status, "before": before, "batch": batch}
    yield from _purge(engine, _PURGE_UPLOADS, bound, UUID(int=0))
    yield from _purge(engine, _PURGE_CONFLICTS, bound, 0)


def _purge(
    engine: Engine, statement: TextClause, bound: dict[str, object], start: UUID | int
) -> Iterator[int]:
    """Go through a table by its key, so that no batch looks again at what an earlier one has done."""
    while True:
        with engine.begin() as connection:
            purged = scalars(connection, statement, bound | {"start": start})
        if not purged:
            return
        yield len(purged)
        start = max(purged)


class Revival(StrEnum):
    """Tell what became of the wish to replay an upload."""

    REVIVED = "set back"
    WAITING = "waiting already"
    INGESTED = "ingested already"
    VOID = "ingested already (void)"
    PURGED = "purged"


_FAILED = (Status.REJECTED, Status.DEAD)

# No try is counted yet: unlike a new upload, it has had no first ring that counts as one.
_REVIVE = text("""
    UPDATE uploads SET status = 'received', tries = 0, next_try_at = now(), finalized_at = NULL,
        result = NULL, reason = NULL, last_error = coalesce(last_error, 'rejected: ' || reason)
    WHERE client_session_uuid = :id AND status IN ('rejected', 'dead') AND payload IS NOT NULL
""")

_STANDING = text("""
    SELECT status, EXISTS (SELECT FROM study_quiz_sessions
        WHERE client_session_uuid = CAST(:id AS text) AND voided_at IS NOT NULL AND superseded_at IS NULL)
    FROM uploads WHERE client_session_uuid = :id
""")

_WITHOUT_FAILURE = {Status.RECEIVED: Revival.WAITING, Status.INGESTED: Revival.INGESTED}


def revive(connection: Connection, client_session_uuid: UUID) -> Revival:
    """Set a failed upload back to `received`, for the sweeper to ring; its last error stays to be seen.

    One that waits or is ingested stays as it is. Raises UnknownUploadError.
    """
    bound = {"id": client_session_uuid}
    if execute(connection, _REVIVE, bound).rowcount:
        return Revival.REVIVED
    standing = execute(connection, _STANDING, bound).fetchone()
    if standing is None:
        raise UnknownUploadError(f"there is no upload {client_session_uuid}")
    status, is_void = standing
    if is_void and status == Status.INGESTED:
        return Revival.VOID
    return _WITHOUT_FAILURE.get(Status(status), Revival.PURGED)


def revive_one(connection: Connection, client_session_uuid: UUID) -> Revival:
    """Revive an upload; raise ReplayRefusedError if its payload is purged."""
    revival = revive(connection, client_session_uuid)
    if revival is Revival.PURGED:
        raise ReplayRefusedError(
            f"the payload of {client_session_uuid} is purged: there is nothing to replay"
        )
    return revival


def find_failed(connection: Connection, wanted: Search) -> list[UUID]:
    """Find all rejected and dead uploads that a search means and that can be replayed, the oldest first."""
    found = sorted(_search_failed(connection, wanted, purged=False), key=lambda each: each.received_at)
    return [each.client_session_uuid for each in found]


def count_purged(connection: Connection, wanted: Search) -> int:
    """Count the rejected and dead uploads that a search means, but that can never be replayed."""
    return len(_search_failed(connection, wanted, purged=True))


def _search_failed(connection: Connection, wanted: Search, *, purged: bool) -> list[Listed]:
    statuses = [status for status in _FAILED if wanted.status in (None, status)]
    searches = [replace(wanted, status=status, purged=purged, limit=None) for status in statuses]
    return [each for meant in searches for each in search(connection, meant)]
