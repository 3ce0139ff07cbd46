"""The actions of operators on uploads: set back, replay again, void, decide conflicts."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import unified_diff
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from shared import db, errors
from shared.ops.search import Listed, Search, search
from shared.payload import Upload, content_lines
from shared.plan import SKIPPED, Plan
from shared.replay import replay
from shared.study.store import lock_learner, lock_owners
from shared.study.voiding import unvoid_sessions, void_sessions
from shared.uploads import Event, Status, add_event, keep_times_as_events, lock


class RequestResult(StrEnum):
    """What became of a request to replay an upload."""

    SET_BACK = "set back"
    WAITING = "waiting already"
    INGESTED = "ingested already"
    VOIDED = "ingested already (void)"
    REPLAYED = "replayed again"


# `tries` is 0, not 1 as in a new upload: there is no first message whose start is counted in advance.
_SET_BACK = text("""
    UPDATE uploads SET status = 'received', tries = 0, next_try_at = now(), waiting_since = now(),
        finalized_at = NULL,
        result = NULL, reason = NULL, last_error = coalesce(last_error, 'rejected: ' || reason)
    WHERE client_session_uuid = :id AND payload IS NOT NULL AND status = ANY(CAST(:statuses AS text[]))
""")

_UPLOAD = text("""
    SELECT status, payload, user_id, result, EXISTS (SELECT FROM study_quiz_sessions
            WHERE client_session_uuid = CAST(:id AS text) AND voided_at IS NOT NULL
                AND superseded_at IS NULL) AS is_voided
    FROM uploads WHERE client_session_uuid = :id
""")

# Superseded sessions are read, too: once a mistaken clock shift is undone, only they have the original times.
_DATES = text("""
    SELECT a.pub_id, a.answered_at, a.study_date
    FROM study_question_attempts a
    JOIN study_quiz_sessions s ON s.user_id = a.user_id AND s.id = a.study_quiz_session_id
    WHERE s.client_session_uuid = CAST(:id AS text) AND s.user_id = :user_id ORDER BY s.id
""")


def set_back(connection: Connection, client_session_uuid: UUID, why: str | None = None) -> RequestResult:
    """Set a rejected or dead upload back to `received`; the sweeper enqueues it.

    Its last error, or the reason of its rejection, stays as `last_error`. A waiting or ingested upload is not
    changed. Raises UnknownUploadError, or ReplayRefusedError if the payload of a rejected or dead upload is
    deleted.
    """
    failed = {"id": client_session_uuid, "statuses": [Status.REJECTED, Status.DEAD]}
    if db.execute(connection, _SET_BACK, failed).rowcount:
        add_event(connection, client_session_uuid, Event.REPLAYED, why)
        return RequestResult.SET_BACK
    upload = _read(connection, client_session_uuid)
    if upload.status == Status.RECEIVED:
        return RequestResult.WAITING
    if upload.status == Status.INGESTED:
        return RequestResult.VOIDED if upload.is_voided else RequestResult.INGESTED
    raise errors.ReplayRefusedError(
        f"the payload of {client_session_uuid} is deleted: the upload cannot be replayed"
    )


def _read(connection: Connection, client_session_uuid: UUID) -> Any:
    upload = db.execute(connection, _UPLOAD, {"id": client_session_uuid}).fetchone()
    if upload is None:
        raise errors.UnknownUploadError(f"there is no upload {client_session_uuid}")
    return upload


@contextmanager
def refusing_if_busy(client_session_uuid: UUID) -> Iterator[None]:
    """Replace an error that another process causes by a ReplayRefusedError that names the upload."""
    try:
        yield
    except errors.OvertakenError as error:
        raise errors.ReplayRefusedError(f"{client_session_uuid}: {error}: try again") from None
    except DBAPIError as error:
        if isinstance(error.orig, LockNotAvailable | DeadlockDetected):
            raise errors.ReplayRefusedError(
                f"another process has locked {client_session_uuid} or its learner: try again"
            ) from None
        raise


def find_failed(connection: Connection, wanted: Search) -> list[UUID]:
    """Find all rejected and dead uploads that match a search and can be replayed, the oldest first."""
    found = sorted(_search_failed(connection, wanted, purged=False), key=lambda each: each.received_at)
    return [each.client_session_uuid for each in found]


def count_purged(connection: Connection, wanted: Search) -> int:
    """Count the rejected and dead uploads that match a search, but have no payload to be replayed."""
    return len(_search_failed(connection, wanted, purged=True))


def _search_failed(connection: Connection, wanted: Search, *, purged: bool) -> list[Listed]:
    statuses = [status for status in (Status.REJECTED, Status.DEAD) if wanted.status in (None, status)]
    searches = [replace(wanted, status=status, purged=purged, limit=None) for status in statuses]
    return [upload for each in searches for upload in search(connection, each)]


def replay_again(
    connection: Connection, client_session_uuid: UUID, why: str, *, now: datetime, default_zone: str
) -> Plan:
    """Replay an ingested upload again with the current catalog, and supersede the sessions that it has.

    Superseded sessions stay on record, and never count again. An answer whose time is unchanged keeps its
    study date, whatever zone the learner has now. Locks are taken in the order of a replay.
    Raises UnknownUploadError, or ReplayRefusedError: then the caller must roll back.
    """
    lock(connection, [client_session_uuid])
    upload = _read(connection, client_session_uuid)
    if upload.status != Status.INGESTED:
        raise errors.ReplayRefusedError(
            f"{client_session_uuid} is {upload.status}, and --skipped is only for ingested uploads:"
            " leave out --skipped (a worker replays received uploads without a command)"
        )
    if upload.payload is None:
        raise errors.ReplayRefusedError(
            f"the payload of {client_session_uuid} is deleted: the upload cannot be replayed"
        )
    attempts = Upload.model_validate(upload.payload).attempts
    owners = lock_owners(connection, [{each.pub_id for each in attempts}], default_zone)
    if owners.get(upload.user_id) is None:
        raise errors.ReplayRefusedError(
            f"in the current catalog, learner {upload.user_id} is missing, or is not the only owner of the"
            f" questions of {client_session_uuid}"
        )
    # Read after the learner's lock: the live side takes only this lock to void a session.
    if _read(connection, client_session_uuid).is_voided:
        raise errors.ReplayRefusedError(f"{client_session_uuid} is voided: unvoid it first")

    dates = {
        (row.pub_id, row.answered_at): row.study_date
        for row in db.execute(connection, _DATES, {"id": client_session_uuid, "user_id": upload.user_id})
    }
    _supersede(connection, client_session_uuid, "its upload was replayed again")
    keep_times_as_events(connection, client_session_uuid, with_arrival=False)
    add_event(connection, client_session_uuid, Event.REPLAYED, why)
    db.execute(connection, _SET_BACK, {"id": client_session_uuid, "statuses": [Status.INGESTED]})
    done = replay(connection, [client_session_uuid], now=now, default_zone=default_zone, dates=dates)
    replayed = done.get(client_session_uuid)
    if replayed is None or replayed.plan is None:
        raise errors.ReplayRefusedError(
            f"{client_session_uuid} cannot be replayed again: the same session is recorded under another uuid"
        )
    if replayed.status is not Status.INGESTED:
        raise errors.ReplayRefusedError(f"{client_session_uuid} would be rejected: {replayed.reason}")
    return replayed.plan


# A year is 365 days.
_SHIFT = re.compile(
    r"[+-](?:(?P<years>\d{1,2})y)?(?:(?P<days>\d{1,5})d)?(?:(?P<hours>\d{1,3})h)?"
    r"(?:(?P<minutes>\d{1,3})m)?(?:(?P<seconds>\d{1,5})s)?"
)


def read_shift(typed: str) -> timedelta:
    """Read `+6y12d` or `-3h30m`: how far a clock was behind (+) or ahead (-); else raise ValueError."""
    if not (match := _SHIFT.fullmatch(typed)) or not any(match.groupdict().values()):
        raise ValueError(f"{typed!r} is not a shift such as +6y12d or -3h30m")
    parts = {name: int(number or 0) for name, number in match.groupdict().items()}
    parts["days"] += 365 * parts.pop("years")
    return timedelta(**parts) * (-1 if typed.startswith("-") else 1)


def write_shift(shift: timedelta) -> str:
    """Write a shift as `read_shift` reads it."""
    seconds = abs(int(shift.total_seconds()))
    units = {"d": seconds // 86400, "h": seconds // 3600 % 24, "m": seconds // 60 % 60, "s": seconds % 60}
    parts = "".join(f"{number}{unit}" for unit, number in units.items() if number)
    return ("-" if shift < timedelta() else "+") + (parts or "0s")


_SHIFT_CLOCK = text("UPDATE uploads SET clock_shift = :shift WHERE client_session_uuid = :id")


def shift_clock(
    connection: Connection, client_session_uuid: UUID, shift: timedelta, *, now: datetime, default_zone: str
) -> RequestResult:
    """Replay an upload that a device with a wrong clock sent: `shift` is added to all its times.

    An ingested upload is replayed at once, as by `replay_again`, a rejected or dead one is set back, and a
    waiting one stays `received`. The shift applies to later replays, too. Raises as `set_back` and
    `replay_again` do.
    """
    db.execute(connection, _SHIFT_CLOCK, {"id": client_session_uuid, "shift": shift})
    why = f"all times shifted by {write_shift(shift)}"
    if _read(connection, client_session_uuid).status != Status.INGESTED:
        return set_back(connection, client_session_uuid, why)
    replay_again(connection, client_session_uuid, why, now=now, default_zone=default_zone)
    return RequestResult.REPLAYED


def add_skipped(
    connection: Connection, client_session_uuid: UUID, *, now: datetime, default_zone: str
) -> int:
    """Replay an ingested upload again if attempts that were skipped can be graded now; return how many.

    Progress becomes the same as with a catalog that was complete from the start. Raises as `replay_again`
    does, and ReplayRefusedError if a graded attempt could not be graded again.
    """
    lock(connection, [client_session_uuid])
    result = _read(connection, client_session_uuid).result or {"attempts": []}
    skipped_before = {place for place, each in enumerate(result["attempts"]) if each["status"] == "skipped"}
    with connection.begin_nested() as savepoint:
        why = "to add skipped attempts"
        plan = replay_again(connection, client_session_uuid, why, now=now, default_zone=default_zone)
        skipped_now = {place for place, fate in enumerate(plan.fates) if fate in SKIPPED}
        if lost := skipped_now - skipped_before:
            raise errors.ReplayRefusedError(
                f"{len(lost)} graded attempts of {client_session_uuid} would be skipped now"
            )
        if skipped_now == skipped_before:
            savepoint.rollback()
    return len(skipped_before - skipped_now)


_SESSIONS = text("""
    SELECT id, user_id FROM study_quiz_sessions
    WHERE client_session_uuid = CAST(:id AS text) AND superseded_at IS NULL
""")

_SUPERSEDE = text("""
    UPDATE study_quiz_sessions SET superseded_at = now()
    WHERE user_id = :user_id AND id = ANY(CAST(:session_ids AS bigint[]))
""")


def _supersede(connection: Connection, client_session_uuid: UUID, why: str) -> None:
    """Void an upload's sessions permanently; the caller has locked the upload."""
    sessions = db.execute(connection, _SESSIONS, {"id": client_session_uuid}).fetchall()
    if sessions:
        ids, learner = [session.id for session in sessions], sessions[0].user_id
        lock_learner(connection, learner)
        void_sessions(connection, learner, ids, reason=f"superseded: {why}")
        db.execute(connection, _SUPERSEDE, {"user_id": learner, "session_ids": ids})


# Sessions that are not superseded come first: superseded ones may be another learner's. No index has the
# uuids of superseded sessions, so they are searched among the sessions of the learners whom the upload and
# its conflicts name.
_SESSIONS_EVER = text("""
    SELECT id, user_id, superseded_at IS NULL AS stands FROM study_quiz_sessions
    WHERE client_session_uuid = CAST(:id AS text) AND user_id = ANY(ARRAY(
        SELECT user_id FROM study_quiz_sessions
        WHERE client_session_uuid = CAST(:id AS text) AND superseded_at IS NULL
        UNION SELECT user_id FROM uploads WHERE client_session_uuid = :id
        UNION SELECT user_id FROM upload_conflicts WHERE client_session_uuid = :id))
    ORDER BY stands DESC
""")


def void_upload(connection: Connection, client_session_uuid: UUID, *, reason: str) -> int:
    """Void the sessions of an upload; return how many were not void before."""
    learner, sessions = _lock_sessions(connection, client_session_uuid)
    voided = void_sessions(connection, learner, sessions, reason=reason)
    if voided:
        add_event(connection, client_session_uuid, Event.VOIDED, reason)
    return voided


def unvoid_upload(connection: Connection, client_session_uuid: UUID) -> int:
    """Bring the sessions of an upload back; return how many were void."""
    learner, sessions = _lock_sessions(connection, client_session_uuid)
    unvoided = unvoid_sessions(connection, learner, sessions)
    if unvoided:
        add_event(connection, client_session_uuid, Event.UNVOIDED)
    return unvoided


def _lock_sessions(connection: Connection, client_session_uuid: UUID) -> tuple[int, list[int]]:
    """Lock an upload and its learner; return the learner and the upload's sessions that are not superseded.

    The upload is locked first: a replay that has locked it may be adding a session.
    """
    lock(connection, [client_session_uuid])
    sessions = db.execute(connection, _SESSIONS_EVER, {"id": client_session_uuid}).fetchall()
    if not sessions:
        raise errors.UnknownSessionError(f"there is no quiz session of upload {client_session_uuid}")
    if not sessions[0].stands:
        raise errors.SupersededError(
            f"all sessions of upload {client_session_uuid} are superseded, and its present content has none"
        )
    lock_learner(connection, sessions[0].user_id)
    return sessions[0].user_id, [session.id for session in sessions if session.stands]


# A blanked conflict is not shown: there is nothing to decide. Without its row, the content would be stored
# when it is sent again.
_LIST_CONFLICTS = text("""
    SELECT c.id, c.client_session_uuid, c.received_at, u.received_at AS present_received_at, u.status
    FROM upload_conflicts c JOIN uploads u USING (client_session_uuid)
    WHERE NOT c.blanked ORDER BY c.id DESC LIMIT :limit
""")

_FIND_CONFLICT = text("""
    SELECT c.id, c.client_session_uuid, c.received_at, c.payload, u.received_at AS present_received_at,
        u.status AS present_status, u.payload AS present_payload
    FROM upload_conflicts c JOIN uploads u USING (client_session_uuid) WHERE c.id = :id AND NOT c.blanked
""")

# The present content gets a new conflict id: accepting one id twice must not swap the contents back.
_KEEP_PRESENT = text("""
    INSERT INTO upload_conflicts (client_session_uuid, content_hash, payload, received_at, clock_shift,
        learner_id, user_id, blanked)
    SELECT client_session_uuid, content_hash, payload, received_at, clock_shift, learner_id, user_id, blanked
    FROM uploads WHERE client_session_uuid = :id
    ON CONFLICT (client_session_uuid, content_hash) DO UPDATE SET clock_shift = excluded.clock_shift,
        learner_id = excluded.learner_id, user_id = excluded.user_id, received_at = excluded.received_at,
        blanked = excluded.blanked,
        payload = coalesce(excluded.payload, upload_conflicts.payload)
""")

# Sets the upload back as _SET_BACK does, and gives it the conflict's content.
_TAKE_CONFLICT = text("""
    UPDATE uploads SET payload = c.payload, content_hash = c.content_hash, received_at = c.received_at,
        clock_shift = c.clock_shift, learner_id = c.learner_id, user_id = c.user_id, blanked = false,
        status = 'received', tries = 0, next_try_at = now(), waiting_since = now(), finalized_at = NULL,
        result = NULL, reason = NULL, last_error = NULL
    FROM upload_conflicts c
    WHERE c.id = :conflict AND uploads.client_session_uuid = c.client_session_uuid
""")

_DELETE_CONFLICT = text("DELETE FROM upload_conflicts WHERE id = :id AND NOT blanked")


class ListedConflict(NamedTuple):
    """A conflict in a list; `status` is the upload's."""

    id: int
    client_session_uuid: UUID
    received_at: datetime
    present_received_at: datetime
    status: str


@dataclass(frozen=True, slots=True)
class FoundConflict:
    """A conflict: the other content, and the upload's present one; a payload is None if it is not stored."""

    id: int
    client_session_uuid: UUID
    received_at: datetime
    payload: dict[str, Any] | None
    present_received_at: datetime
    present_status: str
    present_payload: dict[str, Any] | None

    @property
    def difference(self) -> list[str]:
        """List the lines that only one content has: `-` marks the present content, `+` the other content.

        The list is empty if the payload of one of the two contents is not stored.
        """
        if self.payload is None or self.present_payload is None:
            return []
        present, other = map(Upload.model_validate, (self.present_payload, self.payload))
        changes = list(unified_diff(content_lines(present), content_lines(other), n=0, lineterm=""))[2:]
        return [line for line in changes if not line.startswith("@@")]


def list_conflicts(connection: Connection, *, limit: int) -> list[ListedConflict]:
    """List conflicts, the highest id first."""
    return [ListedConflict(*row) for row in db.execute(connection, _LIST_CONFLICTS, {"limit": limit})]


def find_conflict(connection: Connection, conflict: int) -> FoundConflict:
    """Look a conflict up; raise UnknownConflictError if there is none."""
    if (row := db.execute(connection, _FIND_CONFLICT, {"id": conflict}).fetchone()) is None:
        raise errors.UnknownConflictError(f"there is no conflict {conflict}")
    return FoundConflict(*row)


def accept_conflict(connection: Connection, conflict: int) -> UUID:
    """Replace an upload's content by a conflict's content; keep the former content as a conflict.

    The upload's sessions are superseded. The upload is `received` again, and the sweeper enqueues it. Locks
    are taken in the order of a replay. Returns the upload's uuid; raises UnknownConflictError, or
    ReplayRefusedError if the conflict has no payload.
    """
    uuid = find_conflict(connection, conflict).client_session_uuid
    lock(connection, [uuid])
    if find_conflict(connection, conflict).payload is None:
        raise errors.ReplayRefusedError(
            f"the payload of conflict {conflict} is deleted: the conflict cannot be accepted"
        )
    _supersede(connection, uuid, "other content was accepted under the same uuid")
    keep_times_as_events(connection, uuid, with_arrival=True)
    add_event(connection, uuid, Event.ACCEPTED)
    db.execute(connection, _KEEP_PRESENT, {"id": uuid})
    db.execute(connection, _TAKE_CONFLICT, {"conflict": conflict})
    db.execute(connection, _DELETE_CONFLICT, {"id": conflict})
    return uuid


def discard_conflict(connection: Connection, conflict: int) -> UUID:
    """Delete the other content of a conflict, and return the upload's uuid.

    Raises UnknownConflictError if there is no such conflict.
    """
    discarded = find_conflict(connection, conflict)
    uuid = discarded.client_session_uuid
    # Wait while `accept_conflict` uses this conflict: meanwhile the content must not be deleted.
    lock(connection, [uuid])
    if not db.execute(connection, _DELETE_CONFLICT, {"id": conflict}).rowcount:
        raise errors.UnknownConflictError(f"there is no conflict {conflict}")
    add_event(connection, uuid, Event.RECEIVED, "other content", at=discarded.received_at)
    add_event(connection, uuid, Event.DISCARDED)
    return uuid
