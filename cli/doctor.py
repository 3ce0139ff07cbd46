"""The command: look at everything, print it, and say by the exit code whether anything fails."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import httpx
import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

import migrations
from cli.context import complete_environment
from cli.local.places import NothingRunningError, data_dir_option
from shared import health, spool
from shared.broker import FINALIZE_QUEUE, make_celery, queue_length
from shared.config import Settings, load_settings
from shared.db import make_engine
from shared.errors import ConfigurationError
from shared.plan import TOLERANCE

Level = Literal["ok", "warn", "fail"]
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Finding(NamedTuple):
    """What a check found: `warn` can be meant so, `fail` cannot; `mend` says what to do."""

    check: str
    level: Level
    said: str
    mend: str = ""


def ok(check: str, said: str) -> Finding:
    """Find nothing wrong."""
    return Finding(check, "ok", said)


def warn(check: str, said: str, mend: str) -> Finding:
    """Find what may be meant so."""
    return Finding(check, "warn", said, mend)


def fail(check: str, said: str, mend: str) -> Finding:
    """Find what is wrong."""
    return Finding(check, "fail", said, mend)


def line(finding: Finding) -> str:
    """Write a finding for a terminal, its mend below it."""
    level = click.style(f"{finding.level:<4}", fg=COLOURS[finding.level])
    mend = f"\n     mend: {finding.mend}" if finding.mend else ""
    return f"{level} {finding.check}: {finding.said}{mend}"


# Beyond it, log lines of several hosts no longer tell what came first.
NOTICEABLE_S = 2.0
# Beyond it, a viewer whose clock is right is taken for one whose clock is fast: its times are changed.
HARMFUL_S = TOLERANCE.total_seconds()
CLOCK_FIX = "keep the time by NTP on both hosts (`timedatectl set-ntp true`)"


def clock(store: str, theirs: float, before: float, after: float) -> Finding:
    """Compare a store's time with ours before and after it was asked; all in seconds since 1970."""
    ahead = max(theirs - after, 0) + min(theirs - before, 0)
    said = f"{abs(ahead):.1f} s {'behind' if ahead > 0 else 'ahead of'} {store}'s"
    if abs(ahead) >= HARMFUL_S:
        return fail(f"{store} clock", f"this machine's clock is {said}", CLOCK_FIX)
    if abs(ahead) >= NOTICEABLE_S:
        return warn(f"{store} clock", f"this machine's clock is {said}", CLOCK_FIX)
    return ok(f"{store} clock", "agrees with this machine's")


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
    return warn("spool length", said, "none needed, if it shrinks; else start Postgres and the sweeper")


def _refused(client: redis.Redis) -> Finding:
    refused = client.llen(spool.REFUSED)
    if not refused:
        return ok("spool refused", "nothing")
    mend = f"keep the list {spool.REFUSED}, and report what the log says of its entries"
    return fail("spool refused", f"{refused} entries cannot be read", mend)


BROKER_FIX = "start the broker, or mend host, user, password or socket in BROKER_URL"


def look_at_broker(app: Celery) -> Iterator[Finding]:
    """Look at the broker and its queue."""
    with app.connection_for_read() as connection:
        try:
            connection.ensure_connection(max_retries=1)
            yield ok("broker", f"answers; {queue_length(app)} messages wait")
            if connection.transport.driver_type == "redis":
                client = connection.default_channel.client  # type: ignore[attr-defined]  # Redis' own
                yield from look_at_redis("broker", client)
        except (OperationalError, RedisError) as error:
            yield fail("broker", str(error), BROKER_FIX)


def faults(error: ConfigurationError) -> Iterator[Finding]:
    """Name each setting that is wrong; nothing else can be looked at before they are right."""
    for line in str(error).splitlines():
        name, _, said = line.partition(": ")
        yield fail(name, said, f"set {name} as the README's table of settings says, for every process")


def left_out(settings: Settings) -> Iterator[Finding]:
    """Tell what works and what does not, as the settings are."""
    yield _viewers(settings)
    if settings.study_tokens:
        yield ok("STUDY_API_TOKEN", "set")
    else:
        yield warn("STUDY_API_TOKEN", "unset: the live side is closed", "set it, if DS uses the live side")
    if os.environ.get("FLOWER_BASIC_AUTH"):
        yield ok("FLOWER_BASIC_AUTH", "set")
    else:
        yield warn("FLOWER_BASIC_AUTH", "unset: Flower does not start", "set it to name:password")
    if settings.redis_url:
        yield ok("REDIS_URL", "set")
    else:
        without = "unset: while Postgres is away, uploads are answered 503"
        yield warn("REDIS_URL", without, "set it to a Redis that keeps what it is given")
    yield ok("WEBHOOK_URL", "set" if settings.webhook_url else "unset: all webhooks are skipped")


def _viewers(settings: Settings) -> Finding:
    check = "VIEWER_SYNC_TOKEN"
    if settings.viewer_tokens:
        return ok(check, "set")
    said, mend = "unset: no viewer can send", "set it to a long random text, here and in the viewer"
    return (fail if settings.study_ingest_enabled else warn)(check, said, mend)


_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")


def look_at_postgres(settings: Settings) -> Iterator[Finding]:
    """Look at everything that Postgres can tell."""
    engine = make_engine(settings)
    try:
        with engine.connect() as connection:
            yield ok("postgres", "answers")
            yield _clock(connection)
            yield (migrated := _migrations(settings))
            if migrated.level == "ok":
                yield from _standing(connection, settings)
    except DBAPIError as error:
        # Several addresses of one host fail in a line each.
        said = str(error.orig).strip().replace("\n", "; ")
        yield fail("postgres", said, "start Postgres, or mend host, user, password or name in DATABASE_URL")
    finally:
        engine.dispose()


def _clock(connection: Connection) -> Finding:
    connection.scalar(_NOW)  # the first statement also waits for what the driver asks
    before = time.time()
    theirs: float = connection.scalar(_NOW)
    return clock("postgres", theirs, before, time.time())


def _migrations(settings: Settings) -> Finding:
    try:
        pending = migrations.pending(settings.database_url)
    except migrations.MigrationError as error:
        return fail("migrations", str(error), "run the version of study-ingest that migrated the database")
    if pending:
        return fail("migrations", f"{len(pending)} pending: {', '.join(pending)}", "study-ingest migrate")
    return ok("migrations", "none pending")


def _standing(connection: Connection, settings: Settings) -> Iterator[Finding]:
    standing = health.look(connection)
    found = health.problems(standing, settings)
    age = standing.oldest_age
    said = "no upload waits" if age is None else f"the oldest upload waits since {age:.0f} s"
    if health.Problem.UPLOADS_OVERDUE in found:
        mend = "mend what else fails here; else start more workers, or read uploads.last_error"
        yield fail("waiting uploads", said, mend)
    elif health.Problem.BACKLOG in found:
        mend = "none needed, if they become fewer; else start more workers"
        yield warn("waiting uploads", f"{standing.waiting} uploads wait, {said}", mend)
    else:
        yield ok("waiting uploads", said)
    age = standing.heartbeat_age
    said = "it never ran" if age is None else f"it ran {age:.0f} s ago"
    if health.Problem.SWEEPER_SILENT in found:
        yield fail("sweeper", said, "start the Procfile's `sweeper`")
    else:
        yield ok("sweeper", said)


ANSWER_S = 2.0  # a worker's main process answers at once; one on a busy machine a little later


def look_at_workers(app: Celery) -> Iterator[Finding]:
    """Ask which queues are served."""
    try:
        answers = app.control.inspect(timeout=ANSWER_S).active_queues() or {}
    except (OperationalError, RedisError) as error:
        yield fail("worker", f"cannot be asked: {error}", "mend the broker, then ask again")
        return
    if FINALIZE_QUEUE in {queue["name"] for queues in answers.values() for queue in queues}:
        yield ok("worker", "answers")
    else:
        yield fail("worker", f"none takes from the queue {FINALIZE_QUEUE}", "start the Procfile's `worker`")


ASK_SECONDS = 5.0
OPEN = "set STUDY_INGEST_ENABLED=1 for the web processes and restart them, if uploads are to come in"


def look_at_web(settings: Settings, url: str) -> Finding:
    """Ask the web process; where none answers, say what the settings would have it do."""
    try:
        # Past a proxy of the environment: the process itself is asked.
        answer = httpx.get(f"{url}/readyz", timeout=ASK_SECONDS, trust_env=False)
    except httpx.InvalidURL:
        return fail("web", "API_URL is no URL", "set it to the web process' address: http://host:port")
    except httpx.TransportError:
        door = "open" if settings.study_ingest_enabled else "closed"
        said = f"none answers at {url}; its door would be {door}"
        return fail("web", said, "start the Procfile's `web`, or set API_URL to where it is")
    if answer.is_success:
        return ok("web", "open: it accepts uploads")
    if "ingest-closed" in answer.text:
        return warn("web", "STUDY_INGEST_ENABLED is unset there: uploads are answered 503", OPEN)
    return fail("web", f"not ready: {answer.status_code}", "mend the stores; then look at its log")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@data_dir_option
def doctor(data_dir: Path, *, as_json: bool) -> None:
    """Check settings, stores and processes; name what is wrong and its mend. Exit 1 if anything fails."""
    with suppress(NothingRunningError):  # then the settings that are missing are the finding
        complete_environment(data_dir)
    sick = False
    for finding in _examine():
        click.echo(json.dumps(finding._asdict()) if as_json else line(finding))
        sick = sick or finding.level == "fail"
    if sick:
        raise click.exceptions.Exit(1)


def _examine() -> Iterator[Finding]:
    try:
        settings: Settings = load_settings(Settings)
    except ConfigurationError as error:
        yield from faults(error)
    else:
        yield from examine(settings, os.environ.get("API_URL") or _served_at(settings))


def _served_at(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def examine(settings: Settings, web: str) -> Iterator[Finding]:
    """Look at everything that these settings name, and at the web process there."""
    yield from left_out(settings)
    if settings.redis_url:
        yield from look_at_spool(settings.redis_url)
    app = make_celery(settings)
    broker = list(look_at_broker(app))
    yield from broker
    if broker[0].level == "ok":
        yield from look_at_workers(app)
    # After the workers, who are given a while: a sweeper that was started just now has shown that it runs.
    yield from look_at_postgres(settings)
    yield look_at_web(settings, web)
