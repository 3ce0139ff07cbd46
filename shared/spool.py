"""Keep uploads in Redis while Postgres is away, and move them to Postgres when it is back.

An upload stays in the list `SPOOL` or `MOVING` until Postgres has committed it, it is set aside in
`REFUSED`, or its learner is deleted. If a process dies while it moves an upload, the next process finds the
upload in `SPOOL` or `MOVING`. An upload that is moved twice is a repeat, as if it were sent twice.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from psycopg.errors import LockNotAvailable
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from shared import config, db, failures, payload
from shared.errors import StoreUnavailableError
from shared.uploads import Delivery, Verdict, receive

log = structlog.get_logger()

SPOOL = "study-ingest:spool"
MOVING = "study-ingest:spool:moving"
# Entries that cannot be read or stored; empty unless a web process accepted an upload that it should have
# refused.
REFUSED = "study-ingest:spool:refused"
BATCH = 100
# The longest wait of a web process or sweeper for one answer of Redis. It is short, as a request that pushes
# has waited for Postgres before. A push needs two answers, and perhaps a new connection.
PROCESS_TIMEOUT_S = 0.3
# The longest wait in a `study-ingest` command: no request and no loop waits for a command, and a Redis on a
# busy machine may need a second.
COMMAND_TIMEOUT_S = 5.0


def connect(redis_url: str, timeout: float = COMMAND_TIMEOUT_S) -> Redis:
    """Make a client that waits at most `timeout` seconds for each answer, and does not retry."""
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        # With 0 retries this only makes the client connect again, to the new master.
        "retry_on_error": [ReadOnlyError],
    }
    # An entry that is not UTF-8 can still be read, and is set aside unchanged.
    texts = {"decode_responses": True, "encoding_errors": "surrogateescape"}
    address = config.sentinel(redis_url)
    if address is None:
        client = Redis.from_url(redis_url)
        # These override the URL's options: with a long `socket_timeout` in the URL, senders would wait long.
        client.connection_pool.connection_kwargs.update(options | texts)
        return client
    known = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs={**options, "password": address.sentinel_password or None, "ssl": address.tls},
        **options,
        **texts,
    )
    master: Redis = known.master_for(  # type: ignore[no-untyped-call]
        address.master_name,
        db=address.db,
        username=address.username or None,
        password=address.password or None,
        ssl=address.tls,
    )
    return master


def push(redis: Redis, delivery: Delivery) -> None:
    """Put a delivery into the spool; raise StoreUnavailableError if Redis does not take it."""
    try:
        entry = {
            "payload": delivery.payload,
            "received_at": _now(redis).isoformat(),
            "learner_id": delivery.learner_id,
        }
        redis.lpush(SPOOL, json.dumps(entry))
    except RedisError as error:
        log.warning("spool.push_failed", error=type(error).__name__)
        raise StoreUnavailableError("neither Postgres nor Redis confirms the upload") from None


def _now(redis: Redis) -> datetime:
    """Return the time by Redis' clock, which is the same for all web processes and sweepers."""
    seconds, microseconds = redis.time()
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)


def answers(redis: Redis) -> bool:
    """Return whether Redis answers a PING without an error; with a full disk, it refuses the PING."""
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def can_write(info: Mapping[str, Any]) -> bool:
    """Return whether a Redis can write its files, by its INFO; if not, it may refuse writes (MISCONF)."""
    return {info["aof_last_write_status"], info["rdb_last_bgsave_status"]} == {"ok"}


def spooled(redis: Redis) -> int:
    """Count the entries of the spool, including those that are being moved."""
    return redis.llen(SPOOL) + redis.llen(MOVING)


def is_empty(redis: Redis) -> bool:
    """Return whether the spool has no entry."""
    return not redis.exists(SPOOL, MOVING)


# The key of the lock: any number that nothing else in the database uses.
_KEY = 7_319_400_451
_TRY_LOCK = text(f"SELECT pg_try_advisory_xact_lock({_KEY})")
_LOCK = text(f"SELECT pg_advisory_xact_lock({_KEY})")


def try_lock(connection: Connection) -> bool:
    """Become the only process that moves uploads until the transaction ends; return False if that fails.

    Two processes that move uploads at once would lose none. But if one uuid came with two contents, the later
    content could be stored first, and the earlier content would be the conflict.
    """
    return bool(db.scalar(connection, _TRY_LOCK))


def lock(connection: Connection) -> None:
    """Wait for a move of uploads that runs, and let no other one begin until the transaction ends.

    A caller may have locked uploads before: a move waits for no locked upload.
    """
    db.execute(connection, _LOCK)


def remove(redis: Redis, learner: int, pub_ids: set[str]) -> int:
    """Remove the uploads of a learner; return how many.

    An upload is the learner's if it was sent with the learner's token, or if a trusted sender sent it and it
    names one of `pub_ids`.

    An entry that cannot be read stays. The caller has called `lock`.
    """
    removed = 0
    for place in (MOVING, SPOOL, REFUSED):
        for entry in map(str, redis.lrange(place, 0, -1)):
            try:
                value = json.loads(entry)
                upload = payload.parse_upload(value["payload"].encode())
            except Exception:  # noqa: BLE001, S112  # its learner cannot be found
                continue
            sender = value.get("learner_id")
            named = sender is None and any(each.pub_id in pub_ids for each in upload.attempts)
            if named or sender == learner:
                removed += int(redis.lrem(place, 1, entry))
    return removed


def drain(redis: Redis, engine: Engine) -> int:
    """Move a batch of the spool into `uploads`, the oldest first; return how many entries left the spool.

    Entries that are in `MOVING` already come first. An entry that cannot be read or stored is set
    aside in `REFUSED`, and one whose upload is locked stays in `MOVING`. Any other entry leaves Redis only
    after its upload is committed: so this takes an engine, and commits by itself.
    """
    entries = [str(entry) for entry in reversed(redis.lrange(MOVING, -BATCH, -1))]  # the oldest is rightmost
    try:
        while len(entries) < BATCH and (entry := redis.lmove(SPOOL, MOVING, "RIGHT", "LEFT")):
            entries.append(str(entry))
    except OutOfMemoryError:  # at maxmemory LMOVE fails; reading and removing entries works, and frees memory
        entries += [str(entry) for entry in reversed(redis.lrange(SPOOL, len(entries) - BATCH, -1))]
    readable = []
    for entry in entries:
        try:
            readable.append((entry, _read(entry)))
        except Exception as error:  # noqa: BLE001  # whatever the error is: the other entries must be moved
            _set_aside(redis, entry, error)
    return len(entries) - (_record(redis, engine, readable) if readable else 0)


# Short, as the sweeper's other jobs wait meanwhile.
_SHORT_WAIT = text("SET LOCAL lock_timeout = '5ms'")

# What a move does to the table; another transaction may have locked it as a whole.
_LOCK_TABLE = text("LOCK TABLE uploads IN ROW EXCLUSIVE MODE")

# Returns the known uploads that another transaction has locked, with hash and learner, and locks all others.
# If the payload is deleted, the hash is NULL.
_LOCKED = text("""
    WITH free AS MATERIALIZED (
        SELECT client_session_uuid FROM uploads WHERE client_session_uuid = ANY(CAST(:ids AS uuid[]))
        ORDER BY client_session_uuid FOR NO KEY UPDATE SKIP LOCKED)
    SELECT client_session_uuid, CASE WHEN payload IS NOT NULL THEN content_hash END AS hash, learner_id
    FROM uploads WHERE client_session_uuid = ANY(CAST(:ids AS uuid[]))
        AND client_session_uuid NOT IN (SELECT client_session_uuid FROM free)
""")


def _record(redis: Redis, engine: Engine, entries: list[tuple[str, Delivery]]) -> int:
    """Record entries, and remove them from Redis; return how many stay there, as their uploads are locked.

    A repeat of a locked upload by the same sender needs no lock, and does not stay.
    """
    table_is_free = False
    try:
        with engine.begin() as connection:
            db.execute(connection, _SHORT_WAIT)
            db.execute(connection, _LOCK_TABLE)
            table_is_free = True
            ids = [*set[UUID]().union(*(delivery.uuids for _, delivery in entries))]
            locked = {uuid: known for uuid, *known in db.execute(connection, _LOCKED, {"ids": ids})}
            free = [
                (entry, delivery)
                for entry, delivery in entries
                if all(
                    locked[uuid] == [delivery.content_hash, delivery.learner_id]
                    for uuid in delivery.uuids & locked.keys()
                )
            ]
            # Convert the times from Redis' clock to Postgres': keep each entry's age; none is in the future.
            now, redis_now = db.now(connection), _now(redis)
            deliveries = [
                replace(delivery, received_at=now - max(redis_now - pushed_at, timedelta()))
                for _, delivery in free
                if (pushed_at := delivery.received_at)
            ]
            receipts = receive(connection, deliveries, first_try_after=0)
    except (DataError, IntegrityError, ValueError, OverflowError) as error:
        if len(entries) > 1:  # one of the entries is at fault
            return _record_apart(redis, engine, entries)
        _set_aside(redis, entries[0][0], error)
        return 0
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        # Unless the whole table is locked, somebody has inserted one of the uploads, and has not committed.
        is_divided = table_is_free and len(entries) > 1
        return _record_apart(redis, engine, entries) if is_divided else len(entries)
    moved = [
        each for each, receipt in zip(free, receipts, strict=True) if receipt.verdict is not Verdict.LOCKED
    ]
    if moved:
        log.info("spool.moved", uploads=[str(delivery.client_session_uuid) for _, delivery in moved])
    for entry, _ in moved:
        if not redis.lrem(MOVING, 1, entry):
            redis.lrem(SPOOL, -1, entry)
    return len(entries) - len(moved)


def _record_apart(redis: Redis, engine: Engine, entries: list[tuple[str, Delivery]]) -> int:
    """Divide the entries in two, and record each half by itself; return how many stay in the spool.

    The entries of a uuid stay together, and are recorded one by one, until one of them stays: the content
    that came first is recorded first.
    """
    uuids = [*dict.fromkeys(delivery.client_session_uuid for _, delivery in entries)]
    if len(uuids) > 1:
        first = {*uuids[: len(uuids) // 2]}
        one = [each for each in entries if each[1].client_session_uuid in first]
        other = [each for each in entries if each[1].client_session_uuid not in first]
        return _record(redis, engine, one) + _record(redis, engine, other)
    for number, entry in enumerate(entries):
        if _record(redis, engine, [entry]):
            return len(entries) - number
    return 0


# At maxmemory Redis refuses LPUSH, but not in a script that has removed something before.
_SET_ASIDE = """
    local removed = redis.call('LREM', KEYS[1], 1, ARGV[1])
    if removed == 0 then removed = redis.call('LREM', KEYS[2], -1, ARGV[1]) end
    if removed == 1 then redis.call('LPUSH', KEYS[3], ARGV[1]) end
"""


def _set_aside(redis: Redis, entry: str, error: Exception) -> None:
    redis.eval(_SET_ASIDE, 3, MOVING, SPOOL, REFUSED, entry)
    log.warning("spool.entry_set_aside", error=failures.describe(error))


def _read(entry: str) -> Delivery:
    spooled = json.loads(entry)
    received_at = datetime.fromisoformat(spooled["received_at"]).astimezone(UTC)
    # An entry that an early release wrote has no `learner_id`.
    return Delivery.read(spooled["payload"].encode(), received_at, learner_id=spooled.get("learner_id"))
