"""Whether a Redis keeps what it is given: for the spool, and as a broker."""

import time
from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import RedisError

from cli.doctor.clock import clock
from cli.doctor.finding import Finding, fail, ok, warn
from shared import spool

FULL_SHARE = 0.9  # of `maxmemory`: a burst of uploads fills the rest


def look_at_spool(redis_url: str) -> Iterator[Finding]:
    """Look at the spool's Redis, and at what waits in it."""
    try:
        with spool.connect(redis_url) as client:
            yield ok("spool", "answers")
            yield from look_at_redis("spool", client)
            yield _waiting(client)
            yield _refused(client)
    except RedisError as error:
        yield fail("spool", str(error), "start Redis, or mend host, user, password or socket in REDIS_URL")


def look_at_redis(name: str, client: redis.Redis) -> Iterator[Finding]:
    """Look at how a Redis is set up; raise RedisError if it does not answer."""
    before = time.time()
    seconds, microseconds = client.time()
    yield clock(name, seconds + microseconds / 1e6, before, time.time())
    # By INFO, as hosted ones answer no CONFIG.
    told: dict[str, Any] = client.info("everything")
    yield _persistence(name, told)
    yield _eviction(name, told)
    yield _memory(name, told)


def _persistence(name: str, told: dict[str, Any]) -> Finding:
    check = f"{name} persistence"
    if not told["aof_enabled"]:
        mend = "set `appendonly yes` in redis.conf, and by CONFIG SET for the one that runs"
        return fail(check, "appendonly is off: a restart loses what it holds", mend)
    if told["aof_last_write_status"] != "ok":
        return fail(check, "the append-only file cannot be written", "look at its disk: full, or read-only?")
    return ok(check, "appendonly is on")


def _eviction(name: str, told: dict[str, Any]) -> Finding:
    policy = told["maxmemory_policy"]
    if policy == "noeviction":
        return ok(f"{name} eviction", "noeviction")
    mend = "set `maxmemory-policy noeviction`; give other users of this Redis one of their own"
    return fail(f"{name} eviction", f"{policy}: a full Redis throws away what it was given", mend)


def _memory(name: str, told: dict[str, Any]) -> Finding:
    used, most = told["used_memory"], told["maxmemory"]
    said = f"{used / 2**20:.0f} MiB of {most / 2**20:.0f} MiB" if most else "no maxmemory"
    if most and used > FULL_SHARE * most:
        return fail(f"{name} memory", said, "raise maxmemory; a full Redis takes no more")
    return ok(f"{name} memory", said)


def _waiting(client: redis.Redis) -> Finding:
    waiting = client.llen(spool.SPOOL) + client.llen(spool.MOVING)
    said = f"{waiting} uploads wait in it"
    if not waiting:
        return ok("spool length", said)
    return warn("spool length", said, "none needed, if it shrinks; else start Postgres, sweeper and beat")


def _refused(client: redis.Redis) -> Finding:
    refused = client.llen(spool.REFUSED)
    if not refused:
        return ok("spool refused", "nothing")
    mend = f"keep the list {spool.REFUSED}, and report what the log says of its entries"
    return fail("spool refused", f"{refused} entries cannot be read", mend)
