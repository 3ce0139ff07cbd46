"""Deliver follow-ups: claim, commit, post, record."""

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import structlog
from sqlalchemy import Connection, Engine, Row, TextClause, text

from shared.config import Settings
from shared.db import execute, scalars
from shared.failures import describe

# A question is named by its first public id, whichever of them the learner met.
_LOOK = text("""
    SELECT f.id, f.kind, f.tries, f.created_at, s.id AS session_id, s.user_id, s.study_topic_id,
        s.voided_at IS NOT NULL AS voided,
        CASE f.kind WHEN 'explain_misses' THEN ARRAY(
            SELECT i.pub_id FROM study_question_attempts a
            JOIN study_question_progress p
                ON p.user_id = s.user_id AND p.study_question_id = a.study_question_id
            JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
                WHERE source_id = a.study_question_id) i ON i.pub_id IS NOT NULL
            WHERE a.study_quiz_session_id = s.id AND a.counted AND p.wrong_note = 'open'
            ORDER BY a.ordinal) END AS pub_ids
    FROM study_followups f JOIN study_quiz_sessions s ON s.id = f.study_quiz_session_id
    WHERE f.id = ANY(CAST(:ids AS uuid[]))
""")


@dataclass(frozen=True, slots=True)
class Message:
    """A follow-up or a notice as it stands; `told` is what the receiver learns."""

    id: UUID
    kind: str
    tries: int
    created_at: datetime
    told: Mapping[str, Any]
    voided: bool = False

    def body(self) -> bytes:
        """Compose the body, in the form that Standard Webhooks recommends."""
        body = {"type": self.kind, "timestamp": self.created_at.isoformat(), "data": self.told}
        return json.dumps(body).encode()


def look(connection: Connection, followups: Sequence[UUID]) -> list[Message]:
    """Load what is to be told of some follow-ups, as of now."""
    rows = execute(connection, _LOOK, {"ids": followups})
    return [Message(row.id, row.kind, row.tries, row.created_at, _told(row), row.voided) for row in rows]


def _told(row: Row[Any]) -> dict[str, Any]:
    """Name the session and, of one with misses, the questions whose note is open now."""
    told = {name: getattr(row, name) for name in ("session_id", "user_id", "study_topic_id")}
    return told if row.pub_ids is None else told | {"pub_ids": row.pub_ids}


_NOTICE_LOOK = text("""
    SELECT id, client_session_uuid, upload_tries, tries, created_at FROM upload_notices
    WHERE id = ANY(CAST(:ids AS uuid[]))
""")


def look_at_notices(connection: Connection, notices: Sequence[UUID]) -> list[Message]:
    """Load what is to be told of some notices."""
    return [
        Message(
            row.id,
            "upload.dead",
            row.tries,
            row.created_at,
            {"client_session_uuid": str(row.client_session_uuid), "tries": row.upload_tries},
        )
        for row in execute(connection, _NOTICE_LOOK, {"ids": notices})
    ]


# What Standard Webhooks asks of a secret: 192 to 512 bits.


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that let a receiver tell who sent a body, and when.

    One signature a key, so that the receiver's secret can be changed before or after ours. `timestamp`: in
    seconds since 1970.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests),
    }


# Enough to read what is wrong.
KEPT_BYTES = 300
# Client errors that pass: the receiver was too slow or too busy.
PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said; `code` is its HTTP status, None where it did not answer."""

    code: int | None
    text: str

    @property
    def delivered(self) -> bool:
        """Tell whether the receiver has taken the message."""
        return self.code is not None and httpx.codes.is_success(self.code)

    @property
    def refused(self) -> bool:
        """Tell whether another try is in vain. A redirect is: the URL is wrong, and stays so."""
        if self.code is None or self.code in PASSING:
            return False
        return httpx.codes.is_redirect(self.code) or httpx.codes.is_client_error(self.code)


def post_all(messages: Sequence[Message], settings: Settings) -> list[Answer]:
    """Post messages side by side; return their answers in the same order."""
    return asyncio.run(_post_all(messages, settings)) if messages else []


async def _post_all(messages: Sequence[Message], settings: Settings) -> list[Answer]:
    # No timeout of its own: it would begin anew with every byte.
    async with httpx.AsyncClient(verify=_tls(), timeout=None) as client:  # noqa: S113  # see _post
        return await asyncio.gather(*(_post(client, message, settings) for message in messages))


async def _post(client: httpx.AsyncClient, message: Message, settings: Settings) -> Answer:
    try:
        async with asyncio.timeout(settings.followup_timeout):
            return await _exchange(client, message, settings)
    except TimeoutError:
        return Answer(None, f"no answer within {settings.followup_timeout:g} s")
    except Exception as error:  # noqa: BLE001  # whatever it is: recorded, and no other message suffers
        return Answer(None, describe(error))


async def _exchange(client: httpx.AsyncClient, message: Message, settings: Settings) -> Answer:
    body = message.body()
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",  # a packed answer could be far longer than it looks
        "user-agent": "study-ingest",
        **signed_headers(settings.followup_keys, str(message.id), int(time.time()), body),
    }
    url = settings.followup_webhook_url
    async with client.stream("POST", url, content=body, headers=headers) as response:
        # That it was taken is known; a slow rest could not change it.
        text = "" if response.is_success else await _beginning(response)
        return Answer(response.status_code, f"{response.status_code} {text}".rstrip())


async def _beginning(response: httpx.Response) -> str:
    kept = b""
    async for chunk in response.aiter_raw():
        kept += chunk
        if len(kept) >= KEPT_BYTES:
            break
    return kept[:KEPT_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


@cache
def _tls() -> ssl.SSLContext:
    """Make the TLS context once: it costs more than a delivery."""
    return httpx.create_ssl_context()


class Outbox(StrEnum):
    """Name the tables that are told of: they are worked off alike."""

    FOLLOWUPS = "study_followups"
    NOTICES = "upload_notices"


class Status(StrEnum):
    """Name where a follow-up stands; every one but `waiting` is final."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    DEAD = "dead"


# Materialized: a plan that ran the part with the limit more than once would take more than it says.
_CLAIM = """
    WITH due AS MATERIALIZED (
        SELECT id FROM OUTBOX WHERE status = 'waiting' AND next_try_at <= now()
        ORDER BY next_try_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE OUTBOX SET tries = tries + 1, next_try_at = now() + make_interval(secs => :lease)
    FROM due WHERE OUTBOX.id = due.id RETURNING due.id
"""

_BURY = """
    UPDATE OUTBOX SET status = 'dead', finished_at = now(),
        last_error = coalesce(last_error, 'every try was cut off')
    WHERE id IN (SELECT id FROM OUTBOX
        WHERE status = 'waiting' AND next_try_at <= now() AND tries >= :max_tries
        FOR NO KEY UPDATE SKIP LOCKED)
"""

_SKIP_ALL = """
    UPDATE OUTBOX SET status = 'skipped', finished_at = now(), last_error = :reason
    WHERE id IN (SELECT id FROM OUTBOX WHERE status = 'waiting' FOR NO KEY UPDATE SKIP LOCKED)
"""

_CLOSE = """
    UPDATE OUTBOX SET status = :status, finished_at = now(), last_error = :reason
    WHERE id = :id AND status = 'waiting'
"""

# Of a later try nothing is said: an answer that came after its lease must not shorten that of another.
_FAIL = """
    UPDATE OUTBOX SET last_error = :reason,
        status = CASE WHEN tries < :max_tries THEN 'waiting' ELSE 'dead' END,
        finished_at = CASE WHEN tries < :max_tries THEN NULL ELSE now() END,
        next_try_at = now() + make_interval(
            secs => least(:cap, :base * 2.0 ^ least(tries - 1, 32)) * (0.5 + random() / 2))
    WHERE id = :id AND status = 'waiting' AND tries = :tries
"""


@cache
def _of(statement: str, outbox: Outbox) -> TextClause:
    return text(statement.replace("OUTBOX", outbox))


def claim(connection: Connection, outbox: Outbox, *, limit: int, lease: float, max_tries: int) -> list[UUID]:
    """Take up to `limit` follow-ups whose time has come, for `lease` seconds; each is counted as a try.

    One whose last try was cut off, as by a worker that was killed, is buried.
    """
    execute(connection, _of(_BURY, outbox), {"max_tries": max_tries})
    return scalars(connection, _of(_CLAIM, outbox), {"limit": limit, "lease": lease})


def skip_all(connection: Connection, outbox: Outbox, reason: str) -> int:
    """Skip everything that waits; return how many that were."""
    return execute(connection, _of(_SKIP_ALL, outbox), {"reason": reason}).rowcount


def close(
    connection: Connection, outbox: Outbox, followup: UUID, status: Status, reason: str | None = None
) -> None:
    """Give a waiting follow-up its final status; one that was skipped meanwhile stays so."""
    execute(connection, _of(_CLOSE, outbox), {"id": followup, "status": status, "reason": reason})


def fail(connection: Connection, outbox: Outbox, message: Message, reason: str, settings: Settings) -> None:
    """Record why a try failed and when the next is due; after the last the follow-up is dead.

    The wait doubles with every try, up to a cap; half of it is chance, so that those that failed together do
    not come back together.
    """
    wait = {"base": settings.followup_retry_base, "cap": settings.followup_retry_cap}
    counted = {"tries": message.tries, "max_tries": settings.followup_max_tries}
    execute(connection, _of(_FAIL, outbox), {"id": message.id, "reason": reason} | wait | counted)


_LIST = text("""
    SELECT id, study_quiz_session_id, kind, status, tries, created_at, finished_at, last_error
    FROM study_followups WHERE status = :status ORDER BY created_at DESC, id LIMIT :limit
""")

# Those of a voided session stay: what it taught is taken back.
_REVIVE = text("""
    UPDATE study_followups SET status = 'waiting', tries = 0, next_try_at = now(), finished_at = NULL
    FROM study_quiz_sessions s
    WHERE s.id = study_quiz_session_id AND s.voided_at IS NULL
        AND study_followups.status = :status AND study_followups.status IN ('dead', 'skipped')
""")


class Listed(NamedTuple):
    """A follow-up in a list."""

    id: UUID
    session_id: int
    kind: str
    status: str
    tries: int
    created_at: datetime
    finished_at: datetime | None
    last_error: str | None


def list_followups(connection: Connection, status: Status, *, limit: int) -> list[Listed]:
    """List follow-ups of a status, the newest first."""
    rows = execute(connection, _LIST, {"status": status, "limit": limit})
    return [Listed(*row) for row in rows]


def revive_followups(connection: Connection, status: Status) -> int:
    """Let all dead, or all skipped, follow-ups wait again with every try ahead; return how many."""
    return execute(connection, _REVIVE, {"status": status}).rowcount


log = structlog.get_logger()

# So many connections does the receiver see at once.
BATCH = 16
# As long again as a delivery may take, to record it; then the follow-up is anybody's.
LEASES = 2

LOOKS = {Outbox.FOLLOWUPS: look, Outbox.NOTICES: look_at_notices}


def deliver_due(engine: Engine, settings: Settings) -> int:
    """Deliver a batch of follow-ups and one of notices that are due; return how many that were.

    No transaction is open while the receiver is waited for. Without a receiver everything is skipped.
    """
    return sum(_deliver(engine, outbox, settings) for outbox in Outbox)


def _deliver(engine: Engine, outbox: Outbox, settings: Settings) -> int:
    if not settings.followup_webhook_url:
        with engine.begin() as connection:
            return skip_all(connection, outbox, "no receiver: FOLLOWUP_WEBHOOK_URL is not set")
    messages = _claim(engine, outbox, settings)
    waiting = [message for message in messages if not message.voided]
    for message, answer in zip(waiting, post_all(waiting, settings), strict=True):
        _record(engine, outbox, message, answer, settings)
    return len(messages)


def _claim(engine: Engine, outbox: Outbox, settings: Settings) -> list[Message]:
    with engine.begin() as connection:
        lease, max_tries = LEASES * settings.followup_timeout, settings.followup_max_tries
        due = claim(connection, outbox, limit=BATCH, lease=lease, max_tries=max_tries)
        messages = LOOKS[outbox](connection, due)
        for message in messages:
            if message.voided:
                close(connection, outbox, message.id, Status.SKIPPED, "session voided")
    return messages


def _record(engine: Engine, outbox: Outbox, message: Message, answer: Answer, settings: Settings) -> None:
    """Record one answer, in a transaction of its own: with several, a voiding could lock in another order."""
    with engine.begin() as connection:
        if answer.delivered:
            close(connection, outbox, message.id, Status.DELIVERED)
        elif answer.refused:
            close(connection, outbox, message.id, Status.DEAD, answer.text)
        else:
            fail(connection, outbox, message, answer.text, settings)
    fields = {"followup": str(message.id), "tries": message.tries, "code": answer.code}
    if answer.delivered:
        log.info("followup.delivered", **fields)
    else:
        log.warning("followup.failed", **fields)
