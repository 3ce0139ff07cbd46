"""The doctor finds nothing wrong with what works, and names whatever is broken, with its fix."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from sqlalchemy import Engine, make_url, text

import migrations
from cli.doctor import Finding, examine
from cli.local.servers import Servers
from shared import spool
from shared.config import Settings
from shared.data_settings import record_zone
from tests.conftest import administer, with_database
from tests.faults import wrong_clock
from tests.processes import Processes, free_port, processes, until

COMMAND = [str(Path(sys.executable).parent / "study-ingest"), "doctor"]
NOWHERE = f"http://127.0.0.1:{free_port()}"
LATE_UPLOAD = text("""
    INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, waiting_since, next_try_at)
    SELECT gen_random_uuid(), '{}', '1:ab', at, at, now() + interval '1 day'
    FROM (SELECT now() - interval '20 minutes' AS at) AS long_ago
""")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer for processes that most of these tests do not start."""
    monkeypatch.setattr("cli.doctor.START_S", 0.0)


@pytest.fixture
def settings(settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Settings:
    assert redis.ping()
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "operator:password")
    more = {"webhook_url": "http://127.0.0.1:9/"}
    return Settings.model_validate(
        settings.model_dump() | more | {"webhook_secrets": f"whsec_{'QUJD' * 12}", "sweep_every": 0.5}
    )


@pytest.fixture
def house(settings: Settings, tmp_path: Path) -> Iterator[Processes]:
    with processes(settings, tmp_path, sweep_every=0.5) as running:
        yield running


def found(settings: Settings, web: str = NOWHERE) -> dict[str, Finding]:
    """Return what was found, by check; everything that is not well must say its fix."""
    findings = list(examine(settings, web))
    assert all(finding.fix for finding in findings if finding.level != "ok")
    return {finding.check: finding for finding in findings}


def levels(findings: dict[str, Finding]) -> dict[str, str]:
    return {check: finding.level for check, finding in findings.items() if finding.level != "ok"}


def run(*arguments: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the command as an operator does."""
    bare = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*COMMAND, "--json", *arguments], env=bare | environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {each["check"]: each for each in findings}


def environment(settings: Settings) -> dict[str, str]:
    secrets = {"VIEWER_SYNC_TOKEN": "viewer-token-of-tests", "STUDY_API_TOKEN": "study-token-of-tests"}
    stores = {"DATABASE_URL": settings.database_url, "BROKER_URL": settings.broker_url}
    return secrets | stores | {"REDIS_URL": settings.redis_url, "FLOWER_BASIC_AUTH": "operator:password"}


def test_what_works_is_well_and_each_process_that_stops_is_missed(
    settings: Settings, house: Processes
) -> None:
    url = house.serve()
    for name in ("worker", "sweeper"):
        house.start(name)
    until(lambda: levels(found(settings, url)) == {}, "everything is well")
    code, findings = run(**environment(settings), API_URL=url)
    assert (code, {each["level"] for each in findings.values()}) == (0, {"ok"})

    house.kill("worker")
    until(lambda: levels(found(settings, url)) == {"worker": "fail"}, "the worker is missed")
    assert "start the Procfile's `worker`" in found(settings, url)["worker"].fix
    house.kill("sweeper")
    house.kill("web")
    gone = {"sweeper": "fail", "worker": "fail", "web": "fail"}
    until(lambda: levels(found(settings, url)) == gone, "the sweeper is missed")
    assert "start the Procfile's `sweeper`" in found(settings, url)["sweeper"].fix
    house.start("web", PORT=str(urlsplit(url).port), STUDY_INGEST_ENABLED="")
    until(lambda: levels(found(settings, url)).get("web") == "warn", "ingest is off")
    assert "STUDY_INGEST_ENABLED=1" in found(settings, url)["web"].fix


def test_wrong_settings_are_all_named() -> None:
    wrong = {"DATABASE_URL": "mysql://host/name", "PORT": "http", "WEBHOOK_URL": "http://receiver"}
    code, findings = run("--data-dir", "/nowhere", **wrong)
    names = {"DATABASE_URL", "BROKER_URL", "PORT", "WEBHOOK_SECRETS"}
    assert (code, set(findings)) == (1, names)
    assert all(
        each["level"] == "fail" and f"correct {name}" in each["fix"] for name, each in findings.items()
    )


def test_checks_that_were_left_out_are_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWER_BASIC_AUTH")
    names = ("viewer_sync_token", "study_api_token", "redis_url")
    nothing = dict.fromkeys(names, "")
    bare = Settings.model_validate(settings.model_dump() | nothing)
    findings = levels(found(bare))
    assert findings["VIEWER_SYNC_TOKEN"] == "fail"
    assert {findings["STUDY_API_TOKEN"], findings["FLOWER_BASIC_AUTH"], findings["REDIS_URL"]} == {"warn"}
    assert "spool" not in findings


def test_a_login_that_flower_refuses_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "operator")
    assert levels(found(settings))["FLOWER_BASIC_AUTH"] == "fail"


def test_stores_that_do_not_answer(settings: Settings, database_url: str) -> None:
    port, shut = free_port(), make_url(database_url).set(database="no_such")
    away = {
        "broker_url": f"redis://127.0.0.1:{port}/0",
        "redis_url": f"redis://127.0.0.1:{port}/1",
        "database_url": shut.render_as_string(hide_password=False),
    }
    away_settings = settings.model_copy(update=away)
    findings = found(away_settings)
    answers = [each.check for each in examine(away_settings, NOWHERE) if each.detail.startswith("answers")]
    assert answers == []
    assert {"postgres": "fail", "broker": "fail", "spool": "fail"}.items() <= levels(findings).items()
    assert 'database "no_such" does not exist' in findings["postgres"].detail
    assert [name in findings[check].fix for check, name in STORES.items()] == [True] * 3
    refusing = settings.redis_url.replace("unix://", "unix://nobody:wrong@")
    findings = found(settings.model_copy(update={"redis_url": refusing}))
    assert "WRONGPASS" in findings["spool"].detail or "invalid username-password" in findings["spool"].detail


STORES = {"postgres": "DATABASE_URL", "broker": "BROKER_URL", "spool": "REDIS_URL"}


def test_a_database_that_takes_no_uploads(settings: Settings, servers: Servers, database_url: str) -> None:
    name = make_url(database_url).database
    administer(servers.database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    unwritable = found(settings)["postgres"]
    assert unwritable.level == "fail"
    assert "name every host in DATABASE_URL" in unwritable.fix
    locale = "LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0"
    administer(servers.database_url, f"CREATE DATABASE latin1 ENCODING 'LATIN1' {locale}")
    latin1 = with_database(settings.database_url, "latin1")
    refused = found(settings.model_copy(update={"database_url": latin1}))["postgres"]
    administer(servers.database_url, "DROP DATABASE latin1")
    assert (refused.level, "encoding is LATIN1" in refused.detail) == ("fail", True)
    assert "ENCODING 'UTF8'" in refused.fix


def test_a_database_that_is_not_at_the_newest_revision(settings: Settings, engine: Engine) -> None:
    url = settings.database_url
    newest = migrations.current(url)
    migrations.downgrade(url, "-1")
    findings = found(settings)["migrations"]
    assert (findings.level, findings.fix) == ("fail", "study-ingest migrate")
    assert f"1 pending: {newest}" in findings.detail
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from the future'"))
    findings = found(settings)["migrations"]
    assert findings.level == "fail"
    assert "this code is older than the database" in findings.fix


@pytest.mark.parametrize(
    ("wrong", "check", "fix"),
    [
        ("appendonly no", "persistence", "`appendonly yes`"),
        ("maxmemory-policy allkeys-lru", "eviction", "`maxmemory-policy noeviction`"),
        ("maxmemory 1000000", "memory", "raise maxmemory"),
    ],
)
def test_a_redis_that_forgets(settings: Settings, redis: Redis, wrong: str, check: str, fix: str) -> None:
    redis.config_set(*wrong.split())
    failing = {at: each for at, each in found(settings).items() if each.level == "fail"}
    findings = {at: each for at, each in failing.items() if at.startswith(("spool", "broker"))}
    assert set(findings) == {f"spool {check}", f"broker {check}"}
    assert all(fix in each.fix for each in findings.values())


def test_what_waits_too_long_or_is_refused(settings: Settings, redis: Redis, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(LATE_UPLOAD)
    with Redis.from_url(settings.redis_url) as kept:
        kept.lpush(spool.SPOOL, "{}", "{}")
        kept.lpush(spool.REFUSED, "{}")
    assert redis.ping()
    findings = found(settings)
    assert (findings["waiting uploads"].level, findings["spool length"].level) == ("fail", "warn")
    assert re.search(r"has waited for 12\d\d s", findings["waiting uploads"].detail)
    assert findings["spool length"].detail == "2 uploads wait in the spool"
    assert spool.REFUSED in findings["spool refused"].fix


@pytest.mark.parametrize(("offset", "level"), [("-100", "fail"), ("+100", "fail"), ("-10", "warn")])
def test_a_clock_that_is_wrong(settings: Settings, offset: str, level: str) -> None:
    _, findings = run(**environment(settings), **wrong_clock(offset))
    for store in ("postgres", "spool", "broker"):
        assert findings[f"{store} clock"]["level"] == level
        assert "NTP" in findings[f"{store} clock"]["fix"]
        assert ("behind" if offset[0] == "-" else "ahead") in findings[f"{store} clock"]["detail"]


def test_learners_whose_day_is_not_known(settings: Settings, engine: Engine) -> None:
    assert found(settings)["time zones"].level == "ok"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO users (id, time_zone) SELECT id, 'Mars/Olympus' FROM generate_series(11, 17) id"
        )
        connection.exec_driver_sql("INSERT INTO users (id) VALUES (20)")
    unknown = found(settings)["time zones"]
    assert (unknown.level, "'Mars/Olympus' is unknown" in unknown.detail) == ("warn", True)
    assert "learners 11, 12, 13, 14, 15 and 2 more" in unknown.fix
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET time_zone = NULL")
    assert found(settings)["time zones"].level == "ok"  # these settings name a zone for them
    _, findings = run(**environment(settings))
    assert (
        findings["time zones"]["detail"] == "8 learners have no time zone: their study dates are those of UTC"
    )
    assert "STUDY_TIME_ZONE" in findings["time zones"]["fix"]


def test_a_store_that_refuses_is_not_to_be_started(settings: Settings, redis: Redis, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE users"))
        finding = found(settings.model_copy(update={"lock_timeout": 0.2}))["postgres"]
    assert (finding.level, "it answers, but refuses a check" in finding.detail) == ("fail", True)
    redis.acl_setuser("default", enabled=True, commands=["-info"])
    try:
        findings = found(settings)
    finally:
        redis.acl_setuser("default", enabled=True, commands=["+@all"])
    for store in ("spool", "broker"):
        assert "it answers, but refuses" in findings[store].detail
        assert "start it" not in findings[store].fix


def test_another_zone_than_the_databases_is_named(settings: Settings, engine: Engine) -> None:
    with engine.begin() as connection:
        record_zone(connection, "Asia/Seoul", replace=True)
    finding = found(settings.model_copy(update={"study_time_zone": "UTC"}))["STUDY_TIME_ZONE"]
    assert (finding.level, "Asia/Seoul in the database" in finding.detail) == ("fail", True)
