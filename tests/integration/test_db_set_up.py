"""What statements rely on is set where we connect, whatever a database, a role or the URL says."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError

import migrations
from cli.local.servers import Servers
from shared.config import StoreSettings
from shared.db import execute, make_engine
from shared.failures import is_away, is_transient
from tests import factories
from tests.conftest import administer, with_database
from tests.factories import answer, deliver, upload, work_off

HOSTILE = {
    "datestyle": "'SQL, DMY'",
    "intervalstyle": "'sql_standard'",
    "timezone": "'Asia/Kathmandu'",
    "search_path": "''",
    "client_encoding": "'LATIN1'",
    "extra_float_digits": "'-5'",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_deferrable": "'on'",
    "lock_timeout": "'1ms'",
    "bytea_output": "'escape'",
}
SHIFT = timedelta(days=-3, hours=2)
STABILITY = text("SELECT stability, due FROM study_question_progress WHERE user_id = 1")


@contextmanager
def connected(url: str, **options: bool) -> Iterator[Engine]:
    engine = make_engine(StoreSettings(database_url=url), **options)
    try:
        yield engine
    finally:
        engine.dispose()


def learn(url: str) -> list[object]:
    """Replay an upload whose clock was shifted, with a text that only UTF8 holds; return what was learned."""
    with connected(url) as engine, connected(url, autocommit=True) as arrivals:
        factories.load(engine)
        days = [f"2026-11-{day}T09:00:00Z" for day in (10, 12, 19)]
        sent = upload(*(answer("q110", day) for day in days), note="각", sent_at=days[-1])
        deliver(arrivals, sent)
        with engine.begin() as connection:
            execute(connection, text("UPDATE uploads SET clock_shift = :shift"), {"shift": SHIFT})
        work_off(engine, sent)
        with engine.connect() as connection:
            return list(execute(connection, STABILITY))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_setting_of_the_database_changes_nothing(
    servers: Servers, database_url: str, empty_database_url: str, name: str
) -> None:
    database = make_url(empty_database_url).database
    administer(servers.database_url, f"ALTER DATABASE {database} SET {name} = {HOSTILE[name]}")
    migrations.upgrade(empty_database_url)
    assert learn(empty_database_url) == learn(database_url) != []


@pytest.mark.parametrize("name", ["idle_session_timeout", "transaction_timeout"])
def test_a_limit_of_the_database_ends_no_connection(
    servers: Servers, empty_database_url: str, name: str
) -> None:
    database = make_url(empty_database_url).database
    administer(servers.database_url, f"ALTER DATABASE {database} SET {name} = '3s'")
    with connected(empty_database_url) as engine, engine.connect() as connection:
        for _ in range(2):
            execute(connection, text("SELECT pg_sleep(3.5)"))
            connection.commit()
            time.sleep(3.5)


def test_options_of_the_url_are_kept_by_every_process_alike(empty_database_url: str) -> None:
    url = f"{empty_database_url}&options=-csearch_path%3Dstudy%20-cwork_mem%3D5MB&application_name=ours"
    with connected(url) as engine, engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA study"))
        shown = [connection.scalar(text(f"SHOW {name}")) for name in ("work_mem", "application_name")]
    migrations.upgrade(url)
    assert (shown, migrations.pending(url)) == (["5MB", "ours"], [])
    assert learn(url)
    assert migrations.current(empty_database_url) is None, "its tables are in the other schema"


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_KR"])
def test_a_database_that_cannot_hold_every_text_is_not_migrated(servers: Servers, encoding: str) -> None:
    name = f"in_{encoding.lower()}"
    locale = "LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc TEMPLATE template0"
    administer(servers.database_url, f"CREATE DATABASE {name} ENCODING '{encoding}' {locale}")
    url = with_database(servers.database_url, name)
    with pytest.raises(
        migrations.MigrationError, match=f"encoding is {encoding}; create the database with ENCODING"
    ):
        migrations.upgrade(url)
    assert migrations.current(url) is None
    administer(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_connection_that_became_read_only_is_given_up(database_url: str) -> None:
    heartbeat = text("UPDATE heartbeats SET beaten_at = now()")
    with connected(database_url) as engine:
        for send in (execute, lambda connection, statement: connection.execute(statement)):
            with engine.connect() as connection:
                execute(connection, text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
                connection.commit()
                with pytest.raises(DBAPIError) as refused:
                    send(connection, heartbeat)
                assert refused.value.connection_invalidated
                assert (is_away(refused.value), is_transient(refused.value)) == (True, True)
            with engine.begin() as connection:
                send(connection, heartbeat)
