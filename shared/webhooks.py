"""The outbox: signed messages to a receiver, delivered at least once.

Finalize inserts two rows for every session, `explain_misses` and `weak_areas`; the statement that marks an
upload as dead inserts `upload.dead`. Each row is inserted in the transaction of what it reports, except
`progress.changed`: the sweeper inserts it, if WEBHOOK_URL and WEBHOOK_PROGRESS are set. If replays inserted
it, each replay would wait for the one before. The sweeper claims rows by lease, posts them while no
transaction is open, and records the answers.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from sqlalchemy import Connection, text
from standardwebhooks import Webhook as Signer

from shared import db, failures, retries
from shared.config import Settings

# A lease lasts this many timeouts: more than one, so that a late answer is recorded before the next try.
TIMEOUTS_PER_LEASE = 2
# The part of an answer that is stored: enough to read what is wrong.
KEPT_BYTES = 300
# The longest wait that a receiver may ask for. A longer wait is shortened: it is probably a mistake.
LONGEST_RETRY_AFTER_S = 86_400.0


class Kind(StrEnum):
    """The kind of a message; the receiver sees it as `type`.

    To add a kind, also change: both constraints in `shared/models.py`, with a revision; the statement that
    inserts it; `_data`; its schema in `api/schemas.py` and `api/openapi.py`; docs/webhooks.md.
    """

    EXPLAIN_MISSES = "explain_misses"
    WEAK_AREAS = "weak_areas"
    UPLOAD_DEAD = "upload.dead"
    PROGRESS_CHANGED = "progress.changed"


class Status(StrEnum):
    """The status of a webhook; every one but `waiting` is final.

    `skipped`: there was no receiver, the session was voided, or the dead upload was set back.
    `dead`: the receiver refused it, or its tries are exhausted.
    An operator can set skipped and dead webhooks back to `waiting`; `retry_webhooks` names the exceptions.
    """

    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A claimed webhook; `id` is the receiver's idempotency key, `data` the content of the message.

    `lease`: until when it is claimed. The lease identifies the try; `tries` does not, as an operator can set
    it back to 0.
    `claimed_at`: the time that is signed, by Postgres' clock: a receiver refuses a signature whose time is
    minutes off.
    """

    id: UUID
    kind: str
    tries: int
    lease: datetime
    claimed_at: datetime
    created_at: datetime
    data: Mapping[str, Any]

    def body(self) -> str:
        """Compose the body in the form that Standard Webhooks recommends."""
        return json.dumps({"type": self.kind, "timestamp": self.created_at.isoformat(), "data": self.data})


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver's answer; `code` is its HTTP status, None if there was no answer.

    `retry_after`: seconds to wait before the next try, if the receiver asked for it.
    """

    code: int | None
    text: str
    retry_after: float = 0.0

    @property
    def delivered(self) -> bool:
        """Return whether the receiver accepted the webhook."""
        return self.code is not None and httpx.codes.is_success(self.code)

    @property
    def refused(self) -> bool:
        """Return whether another try is useless: only for 410, as a proxy may answer 404 during a deploy."""
        return self.code == httpx.codes.GONE


# A change counts as soon as all readers can see it: when its transaction, and all older ones, have ended. If
# the database was restored, its transactions may have lower numbers than :since: then all changes count.
_ANNOUNCE = text("""
    INSERT INTO outbox (kind) SELECT 'progress.changed'
    WHERE EXISTS (SELECT FROM learner_changes
        WHERE changed_xid < pg_snapshot_xmin(pg_current_snapshot()) AND changed_xid >=
            CASE WHEN CAST(:since AS xid8) <= pg_snapshot_xmax(pg_current_snapshot())
                THEN CAST(:since AS xid8) ELSE '0' END)
    ON CONFLICT (kind) WHERE kind = 'progress.changed' AND status = 'waiting' DO NOTHING
    RETURNING CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)
""")


def announce_progress(connection: Connection, since: str) -> str:
    """Insert a `progress.changed` if progress changed since transaction `since`, unless one waits already.

    Return what to pass as `since` the next time.
    """
    return db.scalar(connection, _ANNOUNCE, {"since": since}) or since


_HASTEN = text("""
    UPDATE outbox SET next_try_at = now() WHERE id IN (
        SELECT id FROM outbox
        WHERE status = 'waiting' AND next_try_at > now() + make_interval(secs => :longest)
        LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
""")

_MARK_EXHAUSTED = text("""
    UPDATE outbox SET status = 'dead', finished_at = now(),
        last_error = coalesce(last_error, 'every try was cut off')
    WHERE id IN (SELECT id FROM outbox
        WHERE status = 'waiting' AND next_try_at <= now() AND tries >= :max_tries
        FOR NO KEY UPDATE SKIP LOCKED)
""")

_SKIP_OUTDATED = text("""
    UPDATE outbox SET status = 'skipped', finished_at = now(), last_error = outdated.why
    FROM (SELECT o.id,
            CASE WHEN s.voided_at IS NULL THEN 'upload no longer dead' ELSE 'session voided' END AS why
        FROM outbox o
        LEFT JOIN study_quiz_sessions s ON s.user_id = o.user_id AND s.id = o.study_quiz_session_id
        LEFT JOIN uploads u ON u.client_session_uuid = o.client_session_uuid
        WHERE o.status = 'waiting' AND o.next_try_at <= now()
            AND (s.voided_at IS NOT NULL OR o.kind = 'upload.dead' AND u.status <> 'dead')
        FOR NO KEY UPDATE OF o SKIP LOCKED) AS outdated
    WHERE outbox.id = outdated.id
""")

# Materialized: a plan that ran the part with the limit more than once would claim more than the limit.
_CLAIM = text("""
    WITH due AS MATERIALIZED (
        SELECT id FROM outbox WHERE status = 'waiting' AND next_try_at <= now()
        ORDER BY next_try_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE outbox SET tries = tries + 1, next_try_at = now() + make_interval(secs => :lease)
    FROM due WHERE outbox.id = due.id RETURNING due.id
""")

# The data is loaded as it is at delivery, not at finalize. A question is named by its current edition.
# A question that has moved to another learner meanwhile is left out, as in the list of wrong notes.
_LOAD = text("""
    SELECT o.id, o.kind, o.tries, o.next_try_at, now() AS claimed_at, o.created_at, o.user_id,
        o.client_session_uuid, u.tries AS upload_tries, s.id AS session_id, s.study_topic_id,
        CASE WHEN o.kind = 'explain_misses' THEN ARRAY(
            SELECT e.pub_id FROM study_question_attempts a
            JOIN study_question_progress p
                ON p.user_id = a.user_id AND p.study_question_id = a.study_question_id
            JOIN study_questions q ON q.id = a.study_question_id AND q.user_id = a.user_id
            JOIN current_editions e ON e.source_id = a.study_question_id
            WHERE a.user_id = o.user_id AND a.study_quiz_session_id = s.id AND a.counted
                AND p.wrong_note = 'open'
            ORDER BY a.ordinal) END AS pub_ids
    FROM outbox o
    LEFT JOIN study_quiz_sessions s ON s.user_id = o.user_id AND s.id = o.study_quiz_session_id
    LEFT JOIN uploads u ON u.client_session_uuid = o.client_session_uuid
    WHERE o.id = ANY(CAST(:ids AS uuid[]))
""")

_SKIP_ALL = text("""
    UPDATE outbox SET status = 'skipped', finished_at = now(), last_error = :reason
    WHERE id IN (SELECT id FROM outbox WHERE status = 'waiting' FOR NO KEY UPDATE SKIP LOCKED)
""")

# The lease in the condition, here and below, identifies the try: a late answer must not change the next try,
# and a webhook that was skipped meanwhile stays skipped.
_FINISH = text("""
    UPDATE outbox SET status = :status, finished_at = now(), last_error = :error
    WHERE id = :id AND status = 'waiting' AND next_try_at = :lease
""")

_FAIL = text(f"""
    UPDATE outbox SET last_error = :error,
        status = CASE WHEN tries < :max_tries THEN 'waiting' ELSE 'dead' END,
        finished_at = CASE WHEN tries < :max_tries THEN NULL ELSE now() END,
        next_try_at = now() + greatest({retries.BACKOFF}, make_interval(secs => :retry_after))
    WHERE id = :id AND status = 'waiting' AND next_try_at = :lease
""")  # noqa: S608  # made of a constant


def claim(connection: Connection, settings: Settings, *, limit: int) -> list[Webhook]:
    """Take up to `limit` webhooks that are due, for the length of a lease; count a try of each.

    A webhook whose last possible try ended without a recorded answer is marked dead. A webhook is skipped if
    its session is void, or if it says that an upload is dead and the upload no longer is.
    """
    lease = TIMEOUTS_PER_LEASE * settings.webhook_timeout
    # Only if Postgres' clock went back can a webhook be due later than after the longest wait.
    longest = max(LONGEST_RETRY_AFTER_S, lease, settings.retry_base, settings.webhook_retry_cap)
    db.execute(connection, _HASTEN, {"longest": longest, "limit": limit})
    db.execute(connection, _MARK_EXHAUSTED, {"max_tries": settings.webhook_max_tries})
    db.execute(connection, _SKIP_OUTDATED)
    ids = db.scalars(connection, _CLAIM, {"limit": limit, "lease": lease})
    if not ids:
        return []
    rows = db.execute(connection, _LOAD, {"ids": ids})
    return [
        Webhook(row.id, row.kind, row.tries, row.next_try_at, row.claimed_at, row.created_at, _data(row))
        for row in rows
    ]


def _data(row: Any) -> dict[str, Any]:
    if row.kind == Kind.UPLOAD_DEAD:
        return {"client_session_uuid": str(row.client_session_uuid), "tries": row.upload_tries}
    if row.kind == Kind.PROGRESS_CHANGED:
        return {}
    session = {name: getattr(row, name) for name in ("session_id", "user_id", "study_topic_id")}
    return session if row.pub_ids is None else session | {"pub_ids": row.pub_ids}


def skip_all(connection: Connection, reason: str) -> int:
    """Skip all waiting webhooks; return how many those were."""
    return db.execute(connection, _SKIP_ALL, {"reason": reason}).rowcount


def record(connection: Connection, webhook: Webhook, answer: Answer, settings: Settings) -> None:
    """Record the answer to a webhook, which is then delivered, dead, or waiting for its next try.

    The answer to an earlier try, or to a webhook that was skipped meanwhile, changes nothing.
    """
    try_ = {"id": webhook.id, "lease": webhook.lease}
    if answer.delivered or answer.refused:
        status = Status.DELIVERED if answer.delivered else Status.DEAD
        error = None if answer.delivered else answer.text
        db.execute(connection, _FINISH, try_ | {"status": status, "error": error})
        return
    waits = {
        "base": settings.retry_base,
        "cap": settings.webhook_retry_cap,
        "retry_after": answer.retry_after,
        "max_tries": settings.webhook_max_tries,
    }
    db.execute(connection, _FAIL, try_ | waits | {"error": answer.text})


async def post(webhook: Webhook, settings: Settings, tls: ssl.SSLContext) -> Answer:
    """Post a webhook; return the answer, or why there was none, within WEBHOOK_TIMEOUT.

    This is a coroutine, so that the limit is for the whole delivery: a socket's timeout begins again with
    every byte.
    """
    body = webhook.body()
    now = webhook.claimed_at
    # One signature for each key, so that the receiver's secret can be changed before or after ours.
    signatures = [Signer(key).sign(str(webhook.id), now, body) for key in settings.webhook_keys]
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",  # the kept part of a compressed answer would be unreadable
        "user-agent": "study-ingest",
        "webhook-id": str(webhook.id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    try:
        async with (
            asyncio.timeout(settings.webhook_timeout),
            httpx.AsyncClient(verify=tls, timeout=None) as client,  # noqa: S113  # the line above
            client.stream("POST", settings.webhook_url, content=body, headers=headers) as response,
        ):
            # If the webhook was accepted, the status is enough: the rest of the answer may be slow.
            words = "" if response.is_success else await _beginning(response)
            asked = response.headers.get("retry-after", "")
            return Answer(
                response.status_code, f"{response.status_code} {words}".rstrip(), _retry_after(asked, now)
            )
    except TimeoutError:
        return Answer(None, f"no complete answer within {settings.webhook_timeout:g} s")
    except Exception as error:  # noqa: BLE001  # whatever it is, it is recorded
        return Answer(None, failures.describe(error))


def _retry_after(asked: str, now: datetime) -> float:
    """Read `Retry-After`, a number or a date, as seconds, with a limit; return 0 for anything else."""
    try:
        if asked.isdecimal():
            seconds = float(asked)
        else:
            at = parsedate_to_datetime(asked)
            # A date without a zone, such as asctime's, is in UTC (RFC 9110, section 5.6.7).
            seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, OverflowError):  # OverflowError: a date after the year 9999
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


async def _beginning(response: httpx.Response) -> str:
    kept = b""
    async for chunk in response.aiter_raw():
        kept += chunk
        if len(kept) >= KEPT_BYTES:
            break
    return kept[:KEPT_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


_LIST = text("""
    SELECT id, kind, study_quiz_session_id, client_session_uuid, status, tries, created_at, finished_at,
        last_error
    FROM outbox WHERE status = :status ORDER BY created_at DESC, id LIMIT :limit
""")

# Webhooks of a voided session stay, as it does not count; `progress.changed` stays, as newer ones follow.
_RETRY = text("""
    UPDATE outbox SET status = 'waiting', tries = 0, next_try_at = now(), finished_at = NULL
    WHERE status = :status AND status IN ('dead', 'skipped') AND kind <> 'progress.changed' AND NOT EXISTS (
        SELECT FROM study_quiz_sessions s
        WHERE s.user_id = outbox.user_id AND s.id = outbox.study_quiz_session_id AND s.voided_at IS NOT NULL)
""")


class Listed(NamedTuple):
    """A webhook in a list."""

    id: UUID
    kind: str
    session_id: int | None
    client_session_uuid: UUID | None
    status: str
    tries: int
    created_at: datetime
    finished_at: datetime | None
    last_error: str | None


def list_webhooks(connection: Connection, status: Status, *, limit: int) -> list[Listed]:
    """List webhooks of a status, the newest first."""
    rows = db.execute(connection, _LIST, {"status": status, "limit": limit})
    return [Listed(*row) for row in rows]


def retry_webhooks(connection: Connection, status: Status) -> int:
    """Set all dead, or all skipped, webhooks back to `waiting` with no try counted; return how many.

    Webhooks of voided sessions, and `progress.changed`, are not set back.
    """
    return db.execute(connection, _RETRY, {"status": status}).rowcount
