"""Receive deliveries into `uploads`, with one row and one content for each uuid; read and close rows."""

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, text

from shared.db import as_array, as_json, execute, scalar
from shared.errors import OvertakenError
from shared.payload import content_hash, parse_upload

# The reason of a rejection: a question belongs to another learner than the upload's `learner_id`.
OTHER_LEARNER = "other_learner"


class Status(StrEnum):
    """The status of an upload; every one but `received` is final."""

    RECEIVED = "received"  # it waits for a replay
    INGESTED = "ingested"  # a replay has recorded its sessions
    REJECTED = "rejected"  # cannot succeed with the present catalog; can be set back while it has its payload
    DEAD = "dead"  # its tries are exhausted; can be set back while it has its payload


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of an upload; `payload` is the body's JSON text, as sent.

    `received_at`: None means now, by Postgres' clock, as the clocks of hosts differ. `learner_id`: the only
    learner whom the upload may concern, as the sender's token or an import says; None for a trusted sender,
    who sends for every learner.
    """

    client_session_uuid: UUID
    payload: str
    content_hash: str
    received_at: datetime | None = None
    learner_id: int | None = None

    @classmethod
    def read(
        cls, body: bytes, received_at: datetime | None = None, *, learner_id: int | None = None
    ) -> "Delivery":
        """Read the body of an upload; raise as `parse_upload` does."""
        upload = parse_upload(body)
        return cls(upload.client_session_uuid, body.decode(), content_hash(upload), received_at, learner_id)

    @property
    def uuids(self) -> set[UUID]:
        """The uuids under which this may be recorded."""
        uuid, learner = self.client_session_uuid, self.learner_id
        return {uuid} if learner is None else {uuid, second_uuid(uuid, learner)}


class Verdict(StrEnum):
    """What a delivery turned out to be.

    `new`: its content was recorded, perhaps in place of rejected content. `ingested`, `rejected` and `dead`:
    a repeat of an upload with that status. `pending`: a repeat of an upload that still waits, or an upload in
    the spool. `conflict`: other content than the known upload has. If a learner must not be told that the
    upload is known, a conflict is answered with `pending`, too. `locked`: nothing was recorded, as this
    delivery would change the upload or its conflicts, but another transaction has locked the upload.
    """

    NEW = "new"
    PENDING = "pending"
    INGESTED = "ingested"
    REJECTED = "rejected"
    DEAD = "dead"
    CONFLICT = "conflict"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a delivery; `reason` and `result` (JSON text) are those of an upload with a final status.

    A dead upload has neither, and only a rejected one has a reason. `recorded_as`: the uuid of the upload's
    row, if that is not the uuid that was sent (`second_uuid`). `is_deleted`: the upload's answers were
    deleted with their learner, and the answers of this delivery are not recorded.
    """

    verdict: Verdict
    reason: str | None = None
    result: str | None = None
    recorded_as: UUID | None = None
    is_deleted: bool = False


def second_uuid(client_session_uuid: UUID, learner_id: int) -> UUID:
    """Make the uuid that a learner's upload gets if another learner's upload has its `client_session_uuid`.

    This hides from the learner that the other upload exists.
    """
    return uuid5(client_session_uuid, str(learner_id))


class Event(StrEnum):
    """The kind of an event of an upload."""

    RECEIVED = "received"
    INGESTED = "ingested"
    FAILED = "failed"  # a try failed
    REJECTED = "rejected"
    DEAD = "dead"
    REPLAYED = "replayed"  # set back by an operator; the replay follows
    VOIDED = "voided"
    UNVOIDED = "unvoided"
    ACCEPTED = "accepted"  # other content took the place of the present one
    DISCARDED = "discarded"  # other content was deleted
    PURGED = "purged"


_ADD_EVENT = text("""
    INSERT INTO upload_events (client_session_uuid, at, kind, detail)
    VALUES (:id, coalesce(CAST(:at AS timestamptz), now()), :kind, :detail)
""")

# Keep the row's times as events before it loses them.
_KEEP_TIMES = text("""
    INSERT INTO upload_events (client_session_uuid, at, kind, actor)
    SELECT client_session_uuid, at, kind, NULL FROM uploads CROSS JOIN LATERAL
        (VALUES (received_at, 'received'), (finalized_at, 'ingested')) AS shown (at, kind)
    WHERE client_session_uuid = :id AND (kind = status OR kind = 'received' AND :with_arrival)
""")

_SET_ACTOR = text("SELECT set_config('study_ingest.actor', :actor, true)")


def act_as(connection: Connection, actor: str) -> None:
    """Record an operator as the actor of all events that this transaction adds from now on."""
    scalar(connection, _SET_ACTOR, {"actor": actor})


def add_event(
    connection: Connection,
    client_session_uuid: UUID,
    kind: Event,
    detail: str | None = None,
    *,
    at: datetime | None = None,
) -> None:
    """Add an event to an upload's timeline; without `at`, its time is now, by Postgres' clock."""
    bound = {"id": client_session_uuid, "kind": kind, "detail": detail, "at": at}
    execute(connection, _ADD_EVENT, bound)


def keep_times_as_events(connection: Connection, client_session_uuid: UUID, *, with_arrival: bool) -> None:
    """Keep the times that the row is about to lose: record them as events.

    The time of ingestion is kept if there is one, and the time of arrival if `with_arrival` is set.
    """
    execute(connection, _KEEP_TIMES, {"id": client_session_uuid, "with_arrival": with_arrival})


# A repeat is not inserted: ON CONFLICT would wait for a transaction that has changed its row, as a load does
# that grades an edition again. The statement also returns the rows that were there before, to save a round
# trip. LIMIT, and a subquery for each row, make Postgres look up rows by the index: a join, planned while the
# table was small, would read all of it until an ANALYZE.
_INSERT = text("""
    WITH delivery AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:deliveries AS json))
            AS delivery (id uuid, payload jsonb, hash text, at timestamptz, learner bigint)
    ), new AS (
        INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, learner_id, next_try_at)
        SELECT id, payload, hash, coalesce(at, now()), learner,
            now() + make_interval(secs => :first_try_after)
        FROM delivery
        WHERE (SELECT content_hash FROM uploads WHERE client_session_uuid = id) IS DISTINCT FROM hash
        ON CONFLICT (client_session_uuid) DO NOTHING
        RETURNING client_session_uuid
    )
    SELECT id, new.client_session_uuid IS NOT NULL AS is_new, coalesce(status, '') AS status, content_hash,
        reason, result, is_purged, blanked, learner_id, user_id
    FROM delivery LEFT JOIN new ON new.client_session_uuid = id
        LEFT JOIN LATERAL (SELECT status, content_hash, reason, CAST(result AS text) AS result,
                payload IS NULL AS is_purged, blanked, learner_id, user_id
            FROM uploads WHERE client_session_uuid = id LIMIT 1) AS known ON TRUE
""")


def receive(
    connection: Connection, deliveries: Sequence[Delivery], *, first_try_after: float
) -> list[Receipt]:
    """Record deliveries, and return their receipts in the same order.

    A delivery of known content waits for nobody. Other content does not wait for a transaction that has only
    locked the known upload. It waits for a transaction that has changed the upload, but no longer than the
    lock timeout. `first_try_after`: seconds after which the sweeper enqueues a new upload, if it is still
    `received`.
    """
    first: dict[UUID, Delivery] = {}
    for delivery in deliveries:
        first.setdefault(delivery.client_session_uuid, delivery)
    # A payload is JSON already: to quote it as text would cost more than all the rest. The rows are sorted by
    # uuid, so that two processes with the same uploads never deadlock.
    rows = ",".join(
        f'{{"id":"{id_}","hash":"{d.content_hash}","at":{as_json(d.received_at)},'
        f'"learner":{as_json(d.learner_id)},"payload":{d.payload}}}'
        for id_, d in sorted(first.items())
    )
    bound = {"deliveries": f"[{rows}]", "first_try_after": first_try_after}
    seen = {row.id: row for row in execute(connection, _INSERT, bound)}

    def is_new(delivery: Delivery) -> bool:
        uuid = delivery.client_session_uuid
        return seen[uuid].is_new and delivery is first[uuid]

    # The statement does not see the rows that it inserts itself, or that another process inserts at the same
    # time.
    known = {uuid: row for uuid, row in seen.items() if row.status}
    unseen = {d.client_session_uuid for d in deliveries if not is_new(d)} - known.keys()
    known |= _look_up(connection, unseen)
    return [
        Receipt(Verdict.NEW)
        if is_new(delivery)
        else _receive_again(connection, delivery, known[delivery.client_session_uuid], first_try_after)
        for delivery in deliveries
    ]


_KNOWN = text("""
    SELECT client_session_uuid AS id, status, content_hash, reason, CAST(result AS text) AS result,
        payload IS NULL AS is_purged, blanked, learner_id, user_id
    FROM uploads WHERE client_session_uuid = ANY(CAST(:ids AS uuid[]))
""")


def _look_up(connection: Connection, uuids: Collection[UUID]) -> dict[UUID, Any]:
    return {row.id: row for row in execute(connection, _KNOWN, {"ids": list(uuids)})} if uuids else {}


# An upload that somebody else has locked is left as it is: the other uploads of a batch must not wait.
_IF_FREE = """
    WITH free AS MATERIALIZED (
        SELECT client_session_uuid AS id, received_at AS old_received_at, blanked
        FROM uploads WHERE client_session_uuid = :id FOR NO KEY UPDATE SKIP LOCKED)
"""

# Where a learner's answers were deleted, no other content takes their place; and answers that were deleted as
# a conflict do not come back as the upload's content.
_REPLACE = text(f"""
    {_IF_FREE}, deleted AS (
        SELECT FROM free WHERE blanked UNION ALL
        SELECT FROM upload_conflicts WHERE client_session_uuid = :id AND content_hash = :hash AND blanked
    ), replaced AS (
        UPDATE uploads SET payload = CAST(:payload AS jsonb), content_hash = :hash,
            received_at = coalesce(CAST(:at AS timestamptz), now()),
            learner_id = :learner, clock_shift = NULL, status = 'received', tries = 1, waiting_since = now(),
            next_try_at = now() + make_interval(secs => :first_try_after), last_error = NULL,
            reason = NULL, result = NULL, user_id = NULL, finalized_at = NULL
        FROM free
        WHERE client_session_uuid = free.id AND status = 'rejected' AND content_hash = :known_hash
            AND NOT EXISTS (SELECT FROM deleted)
        RETURNING client_session_uuid
    ), noted AS (
        INSERT INTO upload_events (client_session_uuid, at, kind)
        SELECT id, old_received_at, 'received' FROM replaced JOIN free ON id = client_session_uuid)
    SELECT EXISTS (SELECT FROM free) AS is_free, EXISTS (SELECT FROM replaced) AS is_new,
        EXISTS (SELECT FROM deleted) AS is_deleted
""")  # noqa: S608  # made of the constant above

# Store the payload again, so that an operator can replay the upload. `received_at` is set to the time of this
# arrival, with which the payload's `sent_at` is compared. `finalized_at` is set to now: otherwise the next
# purge would delete the payload.
_REFILL = text(f"""
    {_IF_FREE}, refilled AS (
        UPDATE uploads SET payload = CAST(:payload AS jsonb), finalized_at = now(),
            received_at = coalesce(CAST(:at AS timestamptz), now())
        FROM free
        WHERE client_session_uuid = free.id AND content_hash = :hash AND payload IS NULL
            AND status IN ('rejected', 'dead') AND NOT free.blanked
        RETURNING client_session_uuid
    ), noted AS (
        INSERT INTO upload_events (client_session_uuid, at, kind)
        SELECT id, old_received_at, 'received' FROM refilled JOIN free ON id = client_session_uuid)
    SELECT EXISTS (SELECT FROM free) AS is_free
""")  # noqa: S608  # as above

_KEEP_CONFLICT = text("""
    INSERT INTO upload_conflicts (client_session_uuid, content_hash, payload, received_at, learner_id)
    SELECT :id, :hash, CAST(:payload AS jsonb), coalesce(CAST(:at AS timestamptz), now()), :learner
    FROM uploads WHERE client_session_uuid = :id AND NOT blanked AND :most > (
        SELECT count(*) FROM upload_conflicts c WHERE c.client_session_uuid = :id AND NOT c.blanked)
    ON CONFLICT (client_session_uuid, content_hash) DO NOTHING
""")

# Store the payload of a purged conflict again: the sender is told that its content is recorded. All
# statements that change a stored conflict lock its upload first.
_REFILL_CONFLICT = text("""
    WITH purged AS MATERIALIZED (
        SELECT c.id, client_session_uuid FROM upload_conflicts c JOIN uploads u USING (client_session_uuid)
        WHERE client_session_uuid = :id AND c.content_hash = :hash AND c.payload IS NULL
            AND NOT c.blanked AND NOT u.blanked
    ), free AS MATERIALIZED (
        SELECT purged.id FROM purged JOIN uploads u USING (client_session_uuid)
        WHERE NOT u.blanked FOR NO KEY UPDATE OF u SKIP LOCKED
    ), refilled AS (
        UPDATE upload_conflicts SET payload = CAST(:payload AS jsonb), learner_id = :learner,
            received_at = coalesce(CAST(:at AS timestamptz), now())
        FROM free WHERE upload_conflicts.id = free.id AND payload IS NULL AND NOT blanked)
    SELECT EXISTS (SELECT FROM purged) AND NOT EXISTS (SELECT FROM free) AS is_locked
""")

# A sender that changes its content at each try would fill the table; an operator needs only a few conflicts.
MAX_CONFLICTS = 10


def _receive_again(connection: Connection, delivery: Delivery, known: Any, first_try_after: float) -> Receipt:
    """Answer a delivery whose uuid is known: a repeat, new content for a rejected upload, or a conflict.

    If another learner's upload has the uuid, the delivery is received under its `second_uuid`.
    """
    learner = delivery.learner_id
    owner = known.user_id if known.learner_id is None else known.learner_id
    if learner is not None and owner not in {None, learner}:
        own = replace(delivery, client_session_uuid=second_uuid(delivery.client_session_uuid, learner))
        (receipt,) = receive(connection, [own], first_try_after=first_try_after)
        return replace(receipt, recorded_as=own.client_session_uuid)
    content = {
        "id": delivery.client_session_uuid,
        "payload": delivery.payload,
        "hash": delivery.content_hash,
        "at": delivery.received_at,
        "learner": learner,
    }
    # Content that was rejected because of its sender's token may succeed if another sender sends it.
    may_succeed_now = known.reason == OTHER_LEARNER and known.learner_id != learner
    if known.content_hash == delivery.content_hash and not may_succeed_now:
        verdict = Verdict.PENDING if known.status == Status.RECEIVED else Verdict(known.status)
        if known.is_purged and known.status in {Status.REJECTED, Status.DEAD}:
            is_free = scalar(connection, _REFILL, content)
            verdict = verdict if is_free else Verdict.LOCKED
        return Receipt(verdict, known.reason, known.result, is_deleted=known.blanked)
    if known.status == Status.REJECTED:
        if replaced := _replace(connection, content, known, first_try_after):
            return replaced
        known = _look_up(connection, [delivery.client_session_uuid])[delivery.client_session_uuid]
        return _receive_again(connection, delivery, known, first_try_after)
    # The owner of the first content is unknown before its replay, and 409 would show that another learner's
    # upload exists. So such content is always kept; only VIEWER_RATE limits its amount.
    is_hidden = learner is not None and owner is None
    most = sys.maxsize if is_hidden else MAX_CONFLICTS
    is_known = not execute(connection, _KEEP_CONFLICT, content | {"most": most}).rowcount
    if is_known and scalar(connection, _REFILL_CONFLICT, content):
        return Receipt(Verdict.LOCKED)
    return Receipt(Verdict.PENDING if is_hidden else Verdict.CONFLICT, is_deleted=known.blanked)


def _replace(
    connection: Connection, content: dict[str, Any], known: Any, first_try_after: float
) -> Receipt | None:
    """Put new content in the place of rejected content; return None if the upload is no longer rejected."""
    replacement = content | {"known_hash": known.content_hash, "first_try_after": first_try_after}
    ((is_free, is_new, is_deleted),) = execute(connection, _REPLACE, replacement)
    if is_deleted:
        return Receipt(Verdict.REJECTED, "learner_deleted", is_deleted=True)
    if not is_free or is_new:
        return Receipt(Verdict.NEW if is_new else Verdict.LOCKED)
    return None


@dataclass(frozen=True, slots=True)
class Locked:
    """A `received` upload whose row the caller has locked.

    `payload`: its decoded JSON. `learner_id`: the only learner whose questions the upload may name; None if a
    trusted sender sent it. `clock_shift`: what an operator wants added to its times.
    """

    client_session_uuid: UUID
    payload: dict[str, Any]
    received_at: datetime
    learner_id: int | None
    clock_shift: timedelta | None


@dataclass(frozen=True, slots=True)
class End:
    """How the replay of an upload ended.

    `user_id`: the learner of the upload's sessions. A rejected upload has no sessions: `user_id` is the owner
    of its questions, if there is exactly one owner and the upload may concern this learner, else None.
    `reason`: the stable code of a rejection.
    """

    client_session_uuid: UUID
    status: Status
    finalized_at: datetime
    user_id: int | None
    result: dict[str, Any]
    reason: str | None = None


_FIND = text("""
    SELECT CAST(:id AS uuid) AS client_session_uuid, status, received_at, finalized_at, tries, reason, result,
        (SELECT max(voided_at) FROM study_quiz_sessions
         WHERE client_session_uuid = CAST(uploads.client_session_uuid AS text)
           AND superseded_at IS NULL) AS voided_at
    FROM uploads
    WHERE client_session_uuid = ANY(CAST(:ids AS uuid[])) AND (CAST(:learner AS bigint) IS NULL
        OR learner_id = :learner OR learner_id IS NULL AND user_id = :learner)
    ORDER BY client_session_uuid <> :id LIMIT 1
""")

_LOCK = text("""
    SELECT status, client_session_uuid, payload, received_at, learner_id, clock_shift FROM uploads
    WHERE client_session_uuid = ANY(CAST(:ids AS uuid[])) ORDER BY client_session_uuid FOR NO KEY UPDATE
""")

# `finalized_at IS NULL` means the status `received`, by a constraint. With `status` in the condition,
# Postgres may search the index of all waiting uploads for this one.
_CLOSE = text("""
    WITH closed AS (
        UPDATE uploads SET status = ended.status, reason = ended.reason, result = ended.result,
            user_id = ended.user_id, finalized_at = ended.finalized_at, last_error = NULL
        FROM json_to_recordset(CAST(:ends AS json)) AS ended (client_session_uuid uuid, status text,
            reason text, result jsonb, user_id bigint, finalized_at timestamptz)
        WHERE uploads.client_session_uuid = ANY(CAST(:ids AS uuid[]))
            AND uploads.client_session_uuid = ended.client_session_uuid
            AND uploads.finalized_at IS NULL
        RETURNING uploads.client_session_uuid, uploads.status, uploads.reason, uploads.finalized_at
    ), noted AS (
        INSERT INTO upload_events (client_session_uuid, at, kind, detail)
        SELECT client_session_uuid, finalized_at, 'rejected', reason FROM closed WHERE status = 'rejected')
    SELECT count(*) FROM closed
""")


def find(connection: Connection, client_session_uuid: UUID, learner_id: int | None = None) -> Any:
    """Return the row of the upload with this uuid, or None.

    With `learner_id`, return only an upload of this learner, perhaps recorded under its `second_uuid`. An
    upload of a trusted sender belongs to a learner once a replay has found that the learner owns its
    questions.
    """
    ids = [client_session_uuid]
    if learner_id is not None:
        ids.append(second_uuid(client_session_uuid, learner_id))
    return execute(
        connection, _FIND, {"id": client_session_uuid, "ids": ids, "learner": learner_id}
    ).fetchone()


def lock(connection: Connection, client_session_uuids: Iterable[UUID]) -> list[Locked]:
    """Lock the rows of uploads in the order of their uuids; return those that are `received`."""
    rows = execute(connection, _LOCK, {"ids": as_array(client_session_uuids)})
    return [Locked(*row) for status, *row in rows if status == Status.RECEIVED]


def close(connection: Connection, ends: Sequence[End]) -> None:
    """Write the final status of uploads: the last write of their transaction."""
    ids = as_array(end.client_session_uuid for end in ends)
    bound = {"ids": ids, "ends": as_json(ends)}
    if scalar(connection, _CLOSE, bound) != len(ends):
        raise OvertakenError("another process has already replayed an upload of this transaction")
