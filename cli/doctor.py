"""`doctor`: check settings, stores and processes from this host; name what is wrong, and its fix."""

import json
import os
import time
from collections.abc import Callable, Iterator
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
from cli import adopt
from cli.context import complete_environment
from cli.local.places import NothingRunningError, data_dir_option
from cli.local.supervisor import wait_until
from shared import data_settings, db, health, hosts, plan, spool, zones
from shared.broker import REPLAY_QUEUE, make_celery, queue_length
from shared.config import Settings, flower_logins, load_settings
from shared.errors import ConfigurationError, MigrationError
from shared.failures import is_away
from shared.tokens import load_keys

Level = Literal["ok", "warn", "fail"]
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
# After a start, sweeper and worker may be ready some seconds later than the web process.
START_S = 8.0
ASK_AGAIN_S = 0.2
ASK_S = 5.0
WORKER_ANSWER_S = 2.0  # a worker's main process answers at once, or a little later on a busy machine
# If clocks differ by more than this, the log lines of several hosts no longer show the order of events.
NOTICEABLE_S = 2.0
# If clocks differ by more than this, viewers' times are corrected although the viewers' clocks are right.
HARMFUL_S = plan.TOLERANCE.total_seconds()
FULL_SHARE = 0.9  # of `maxmemory`: a burst of uploads fills the rest

_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")

_READ_ONLY = text("SHOW transaction_read_only")

# Connections through a socket (their address is null) and from the same host are not counted.
_PLAIN = text("""
    SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
    WHERE application_name = 'study-ingest' AND datname = current_database() AND pid <> pg_backend_pid()
        AND NOT ssl AND NOT (client_addr <<= '127.0.0.0/8' OR client_addr = '::1')
""")

_ZONES = text("""
    SELECT time_zone, count(*), (array_agg(id ORDER BY id))[1:5] FROM users
    GROUP BY time_zone ORDER BY time_zone
""")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each check.")
@data_dir_option
def doctor(data_dir: Path, *, as_json: bool) -> None:
    """Check settings, stores and processes; name what is wrong and its fix. Exit 1 if anything fails."""
    with suppress(NothingRunningError):  # then the missing settings are reported
        complete_environment(data_dir)
    try:
        settings: Settings = load_settings(Settings)
    except ConfigurationError as error:  # nothing else can be checked before the settings are right
        wrong = [each.partition(": ") for each in str(error).splitlines()]
        fix = "correct {} for every process; README.md and docs/operations.md list the settings"
        findings = iter([fail(name, detail, fix.format(name)) for name, _, detail in wrong])
    else:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        findings = examine(settings, os.environ.get("API_URL") or f"http://{host}:{settings.port}")
    failed = False
    for finding in findings:
        click.echo(json.dumps(finding._asdict()) if as_json else line(finding))
        failed = failed or finding.level == "fail"
    if failed:
        raise click.exceptions.Exit(1)


class Finding(NamedTuple):
    """The result of a check: what a `warn` reports may be intended; what a `fail` reports is wrong."""

    check: str
    level: Level
    detail: str
    fix: str = ""


def ok(check: str, detail: str) -> Finding:
    """Make a finding that all is right."""
    return Finding(check, "ok", detail)


def warn(check: str, detail: str, fix: str) -> Finding:
    """Make a finding that may be intended."""
    return Finding(check, "warn", detail, fix)


def fail(check: str, detail: str, fix: str) -> Finding:
    """Make a finding that something is wrong."""
    return Finding(check, "fail", detail, fix)


def line(finding: Finding) -> str:
    """Format a finding for a terminal, with its fix below it."""
    level = click.style(f"{finding.level:<4}", fg=COLOURS[finding.level])
    fix = f"\n     fix: {finding.fix}" if finding.fix else ""
    return f"{level} {finding.check}: {finding.detail}{fix}"


def examine(settings: Settings, url: str) -> Iterator[Finding]:
    """Check settings, disks, stores, workers (if the broker answers), and the web process at `url`."""
    yield from _settings(settings)
    yield _disks()
    yield from _postgres(settings)
    if settings.redis_url:
        yield from _spool(settings.redis_url)
    app = make_celery(settings)
    broker = list(_broker(app))
    yield from broker
    if broker[0].level == "ok":
        yield _worker(app)
    yield _web(settings, url)


def _settings(settings: Settings) -> Iterator[Finding]:
    """Report which settings are set, and what an unset one disables; check the file of token keys."""
    if settings.viewer_tokens or not settings.viewer_token_keys:
        unset = fail if settings.study_ingest_enabled else warn
        fix = "set it to a long random text, here and for trusted senders, or set VIEWER_TOKEN_KEYS"
        yield _is_set("VIEWER_SYNC_TOKEN", settings.viewer_tokens, "no viewer can send", fix, unset)
    if settings.viewer_token_keys:
        try:
            keys = load_keys(Path(settings.viewer_token_keys))
            yield ok("VIEWER_TOKEN_KEYS", f"{len(keys)} keys")
        except ConfigurationError as error:
            fix = (
                "correct the file, or delete it and make a new one with `study-ingest tokens keygen`;"
                " running processes still use the previous keys"
            )
            yield fail("VIEWER_TOKEN_KEYS", str(error).removeprefix("VIEWER_TOKEN_KEYS: "), fix)
    fix = "set it if the document server uses the live side"
    yield _is_set("STUDY_API_TOKEN", settings.study_tokens, "the live side is disabled", fix)
    if text := os.environ.get("FLOWER_BASIC_AUTH"):
        try:
            flower_logins(text)
            yield ok("FLOWER_BASIC_AUTH", "set")
        except ConfigurationError as error:
            why = str(error).removeprefix("FLOWER_BASIC_AUTH: ")
            yield fail("FLOWER_BASIC_AUTH", f"Flower does not start: {why}", "set it to name:password")
    else:
        yield warn("FLOWER_BASIC_AUTH", "unset: Flower does not start", "set it to name:password")
    fix = "set it to the URL of a Redis with `appendonly yes`"
    yield _is_set("REDIS_URL", settings.redis_url, "while Postgres is away, uploads are answered 503", fix)
    yield ok("WEBHOOK_URL", "set" if settings.webhook_url else "unset: all webhooks are skipped")


def _is_set(
    name: str, value: object, unset: str, fix: str, report: Callable[[str, str, str], Finding] = warn
) -> Finding:
    return ok(name, "set") if value else report(name, f"unset: {unset}", fix)


def _disks() -> Finding:
    if full := health.full_disks():
        return fail(
            "disks", f"no space left on {', '.join(full)}", "free some space; everything continues by itself"
        )
    return ok("disks", "no full disk was found")


def _postgres(settings: Settings) -> Iterator[Finding]:
    engine = db.make_engine(settings)
    try:
        with engine.connect() as connection:
            yield _postgres_state(connection, settings)
            db.scalar(connection, _NOW)  # the first statement is slower, as the driver asks for types
            before = time.time()
            yield _clock("postgres", db.scalar(connection, _NOW), before, time.time())
            yield (migrated := _migrations(settings.database_url))
            yield _encryption(connection)
            if migrated.level == "ok":
                if not db.catalog_is_ours(connection):
                    found = [fail("catalog", detail, fix) for detail, fix in adopt.faults(connection)]
                    right = "views on a document server's tables; their rows are never locked"
                    yield from found or [ok("catalog", right)]
                yield from _zones(connection, settings)
                yield from _health(connection, settings)
    except DBAPIError as error:
        # If a host has several addresses, there is a line for the failure of each address.
        detail = str(error.orig).strip().replace("\n", "; ")
        if hosts.is_about_tls(error):
            fix = hosts.TLS_REMEDY
        elif is_away(error):
            fix = "start Postgres, or correct DATABASE_URL: host, user, password, name"
        else:
            detail, fix = (
                f"it answers, but refuses a check: {detail}",
                "repair the cause, then run doctor again",
            )
        yield fail("postgres", detail, fix)
    finally:
        engine.dispose()


def _encryption(connection: Connection) -> Finding:
    """Check the connections of the processes: they may be unencrypted although doctor's own is encrypted."""
    plain = db.scalar(connection, _PLAIN)
    if not plain:
        return ok("postgres encryption", "no unencrypted connection of our processes over a network")
    fix = "remove sslmode from DATABASE_URL, and unset PGSSLMODE; or set sslmode to verify-full"
    return warn("postgres encryption", f"{plain} connections of our processes are not encrypted", fix)


def _postgres_state(connection: Connection, settings: Settings) -> Finding:
    """Report whether Postgres is writable, its encoding, and whether a pooler answers."""
    if db.scalar(connection, _READ_ONLY) == "on":
        fix = (
            "promote it, end its read-only mode, or name every host in DATABASE_URL:"
            " postgresql://app@db1,db2/study"
        )
        return fail("postgres", "it is a standby, or read-only: nothing can be written", fix)
    if (encoding := db.encoding(connection)) != "UTF8":
        fix = "move to a database that is created with ENCODING 'UTF8'"
        return fail("postgres", f"the database's encoding is {encoding}", fix)
    if not db.is_pooled(connection):
        return ok("postgres", "answers")
    prepares = "with" if settings.pooler_prepares else "without"
    detail = f"answers, through a pooler, {prepares} prepared statements"
    if settings.migrate_database_url:
        return ok("postgres", detail)
    return warn("postgres", detail, "set MIGRATE_DATABASE_URL to the URL of Postgres itself, for `migrate`")


def _migrations(database_url: str) -> Finding:
    try:
        pending = migrations.pending(database_url)
    except MigrationError as error:
        if isinstance(error.__cause__, DBAPIError):
            return fail(
                "migrations",
                f"the revision cannot be read: {error}",
                "repair the cause, then run doctor again",
            )
        fix = (
            "if the revision cannot be located, this code is older than the database: install the version of"
            " study-ingest that migrated the database"
        )
        return fail("migrations", str(error), fix)
    if pending:
        return fail("migrations", f"{len(pending)} pending: {', '.join(pending)}", "study-ingest migrate")
    return ok("migrations", "none pending")


def _zones(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Compare STUDY_TIME_ZONE with the database; report learners without a zone or with an unknown one.

    Learners without a zone are reported only if STUDY_TIME_ZONE is set neither here nor in the database.
    """
    known, is_set = zones.names(), db.scalar(connection, data_settings.IS_SET)
    try:
        default = data_settings.compare(connection, settings)
        yield ok("STUDY_TIME_ZONE", f"{default}, as in the database" if is_set else default)
    except ConfigurationError as error:
        detail, _, fix = str(error).removeprefix("STUDY_TIME_ZONE: ").partition(": ")
        yield fail("STUDY_TIME_ZONE", detail, fix)
        return
    right = True
    for zone, learners, first in db.execute(connection, _ZONES):
        if zone in known or (zone is None and (is_set or "study_time_zone" in settings.model_fields_set)):
            continue
        right = False
        named = ", ".join(map(str, first)) + (f" and {learners - len(first)} more" * (learners > len(first)))
        if zone is None:
            detail = f"{learners} learners have no time zone: their study dates are those of {default}"
            fix = f"set STUDY_TIME_ZONE, or users.time_zone of learners {named}"
        else:
            detail = f"{zone!r} is unknown on this host: {default} is used"
            fix = (
                f"set users.time_zone of learners {named} to an IANA zone, such as Asia/Seoul;"
                f" if {zone!r} is an IANA zone, update tzdata on this host"
            )
        yield warn("time zones", detail, fix)
    if right:
        yield ok("time zones", "every learner has a known time zone, or uses that of STUDY_TIME_ZONE")


def _health(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Judge uploads and sweeper by the thresholds that `/ops` and the alerts use, too."""
    state = health.read_state(connection)

    def sweeper_runs() -> bool:
        nonlocal state
        connection.rollback()  # as now() is the start of the transaction
        state = health.read_state(connection)
        return health.Problem.SWEEPER_SILENT not in health.problems(state, settings)

    wait_until(sweeper_runs, START_S, pause=ASK_AGAIN_S)
    found = health.problems(state, settings)
    age = state.oldest_age
    detail = "no upload waits" if age is None else f"the longest waiting upload has waited for {age:.0f} s"
    if health.Problem.UPLOADS_OVERDUE in found:
        fix = (
            "fix what else fails here; if nothing else fails, start more workers, or read uploads.last_error"
        )
        yield fail("waiting uploads", detail, fix)
    elif health.Problem.BACKLOG in found:
        fix = "nothing to do if the number falls; else start more workers"
        yield warn("waiting uploads", f"{state.waiting} uploads wait, {detail}", fix)
    else:
        yield ok("waiting uploads", detail)
    age = state.heartbeat_age
    detail = "it never ran" if age is None else f"it ran {age:.0f} s ago"
    if health.Problem.SWEEPER_SILENT in found:
        yield fail("sweeper", detail, "start the Procfile's `sweeper`")
    else:
        yield ok("sweeper", detail)


def _spool(redis_url: str) -> Iterator[Finding]:
    try:
        with spool.connect(redis_url) as client:
            client.time()  # not PING, which a Redis with a full disk refuses
            yield ok("spool", "answers")
            yield from _redis("spool", client)
            waiting = client.llen(spool.SPOOL) + client.llen(spool.MOVING)
            fix = "nothing to do if the number falls; else start Postgres and the sweeper"
            detail = f"{waiting} uploads wait in the spool"
            yield warn("spool length", detail, fix) if waiting else ok("spool length", detail)
            refused = client.llen(spool.REFUSED)
            fix = (
                f"keep the list {spool.REFUSED}, and report it with the log's `spool.entry_set_aside` events"
            )
            detail = f"{refused} entries cannot be read or stored"
            yield fail("spool refused", detail, fix) if refused else ok("spool refused", "nothing")
    except RedisError as error:
        yield _unusable("spool", error, "REDIS_URL")


def _broker(app: Celery) -> Iterator[Finding]:
    with app.connection_for_read() as connection:
        try:
            connection.ensure_connection(max_retries=1)
            yield ok("broker", f"answers; {queue_length(app)} messages wait")
            if connection.transport.driver_type == "redis":
                client = connection.default_channel.client  # type: ignore[attr-defined]  # Redis' own
                yield from _redis("broker", client)
        except (OperationalError, RedisError) as error:
            yield _unusable("broker", error, "BROKER_URL")


def _unusable(store: str, error: Exception, setting: str) -> Finding:
    if isinstance(error, redis.ResponseError):
        fix = f"correct {setting} (the user's rights, the database's number), or name a writable server"
        return fail(store, f"it answers, but refuses: {error}", fix)
    return fail(store, str(error), f"start the server, or correct {setting}: host, user, password, socket")


def _redis(name: str, client: redis.Redis) -> Iterator[Finding]:
    """Check the setup of a Redis by INFO, since hosted ones refuse CONFIG. Raises RedisError."""
    before = time.time()
    seconds, microseconds = client.time()
    yield _clock(name, seconds + microseconds / 1e6, before, time.time())
    info: dict[str, Any] = client.info("everything")
    if not info["aof_enabled"]:
        fix = "set `appendonly yes` in redis.conf, and by CONFIG SET in the running server"
        yield fail(
            f"{name} persistence", "appendonly is off: after a crash, all data of this Redis may be lost", fix
        )
    elif not spool.can_write(info):
        fix = "check the disk of this Redis (full? read-only?), its memory, and its log"
        yield fail(f"{name} persistence", "Redis failed to write its files, and may refuse all writes", fix)
    else:
        yield ok(f"{name} persistence", "appendonly is on")
    policy = info["maxmemory_policy"]
    if policy == "noeviction":
        yield ok(f"{name} eviction", policy)
    else:
        fix = "set `maxmemory-policy noeviction`; let other applications use another Redis"
        yield fail(f"{name} eviction", f"{policy}: a full Redis may delete data", fix)
    used, most = info["used_memory"], info["maxmemory"]
    detail = f"{used / 2**20:.0f} MiB of {most / 2**20:.0f} MiB" if most else "no maxmemory"
    full = most and used > FULL_SHARE * most
    fix = "raise maxmemory: a full Redis accepts nothing"
    yield fail(f"{name} memory", detail, fix) if full else ok(f"{name} memory", detail)


def _clock(store: str, theirs: float, before: float, after: float) -> Finding:
    """Compare a store's time with our times before and after the store was asked; in seconds since 1970."""
    ahead = max(theirs - after, 0) + min(theirs - before, 0)
    if abs(ahead) < NOTICEABLE_S:
        return ok(f"{store} clock", "agrees with this machine's")
    wrong = fail if abs(ahead) >= HARMFUL_S else warn
    relation = "behind" if ahead > 0 else "ahead of"
    detail = f"this machine's clock is {abs(ahead):.1f} s {relation} {store}'s"
    return wrong(f"{store} clock", detail, "keep the time by NTP on both hosts (`timedatectl set-ntp true`)")


def _worker(app: Celery) -> Finding:
    def is_served() -> bool:
        answers = app.control.inspect(timeout=WORKER_ANSWER_S).active_queues() or {}
        return REPLAY_QUEUE in {queue["name"] for queues in answers.values() for queue in queues}

    try:
        if wait_until(is_served, START_S, pause=ASK_AGAIN_S):
            return ok("worker", "answers")
    except (OperationalError, RedisError) as error:
        return fail(
            "worker", f"the broker does not answer: {error}", "repair the broker, then run doctor again"
        )
    return fail(
        "worker",
        f"no worker of the queue {REPLAY_QUEUE} answers",
        "start the Procfile's `worker`, or restart it",
    )


def _web(settings: Settings, url: str) -> Finding:
    """Check the web process; if it does not answer, report what it would do with these settings."""
    try:
        # Not through a proxy that the environment names: this is a check of the process itself.
        answer = httpx.get(f"{url}/readyz", timeout=ASK_S, trust_env=False)
    except (httpx.InvalidURL, UnicodeError):  # UnicodeError: a host that cannot be looked up
        return fail("web", f"{url} is not a URL", "set API_URL to the web process' address: http://host:port")
    except httpx.TransportError:
        would = "accept uploads" if settings.study_ingest_enabled else "answer uploads 503"
        detail = f"no web process answers at {url}; with these settings it would {would}"
        return fail("web", detail, "start the Procfile's `web`, or set API_URL to its address")
    if answer.is_success:
        return ok("web", "accepts uploads")
    if "ingest-closed" in answer.text:
        fix = (
            "set STUDY_INGEST_ENABLED=1 for the web processes and restart them, if uploads should be accepted"
        )
        return warn("web", "STUDY_INGEST_ENABLED is unset in the web process: uploads are answered 503", fix)
    return fail(
        "web",
        f"not ready: {answer.status_code}",
        "repair what else this report marks as fail; if there is nothing else, read the web process' log",
    )
