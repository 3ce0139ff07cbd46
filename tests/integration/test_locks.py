"""Migrations beside other deploys and a running system."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text

import migrations
from migrations import deploy_lock

DEPLOY = "import sys, migrations; migrations.upgrade(sys.argv[1])"
# Deploys that hold or want the lock.
DEPLOYS = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_lock%'
""")
BUILDING = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%CREATE UNIQUE INDEX CONCURRENTLY%'
      AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > '200 ms'
""")


@pytest.fixture
def empty(empty_database_url: str) -> Engine:
    return create_engine(empty_database_url, poolclass=NullPool)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrations.LOCKING", "SET lock_timeout = '50ms'")


def wait_for(engine: Engine, query: object, count: int) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.scalar(query) != count:  # pytest's own timeout ends it
            time.sleep(0.02)


def test_two_deploys_migrate_one_after_the_other(empty: Engine, empty_database_url: str) -> None:
    argv = [sys.executable, "-c", DEPLOY, empty_database_url]
    with deploy_lock(empty):
        deploys = [subprocess.Popen(argv) for _ in range(2)]
        wait_for(empty, DEPLOYS, 3)  # we and both of them
        assert migrations.current(empty_database_url) is None
    assert [deploy.wait() for deploy in deploys] == [0, 0]
    assert migrations.pending(empty_database_url) == []


def test_a_deploy_does_not_wait_for_ever(empty: Engine) -> None:
    with ExitStack() as deploys:
        deploys.enter_context(deploy_lock(empty))
        with pytest.raises(migrations.MigrationError, match="another deploy"):
            deploys.enter_context(deploy_lock(empty, wait=0))


@pytest.mark.usefixtures("impatient")
def test_a_table_in_use_is_not_waited_for_long(empty: Engine, empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url, "373")
    with empty.begin() as reader:
        reader.execute(text("SELECT FROM study_quiz_sessions"))
        with pytest.raises(migrations.MigrationError, match="lock timeout"):
            migrations.upgrade(empty_database_url)
    assert migrations.current(empty_database_url) == "373"
    migrations.upgrade(empty_database_url)
    assert migrations.pending(empty_database_url) == []


@pytest.mark.usefixtures("impatient")
def test_an_index_waits_for_older_transactions(empty: Engine, empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url, "375")
    with ThreadPoolExecutor() as pool:
        with empty.begin() as writer:
            writer.execute(text("LOCK study_quiz_sessions IN ROW EXCLUSIVE MODE"))
            deploy = pool.submit(migrations.upgrade, empty_database_url)
            wait_for(empty, BUILDING, 1)
        deploy.result()
    assert migrations.pending(empty_database_url) == []


def test_errors_can_be_read(empty_database_url: str) -> None:
    with pytest.raises(migrations.MigrationError, match="Can't locate revision identified by '999'"):
        migrations.upgrade(empty_database_url, "999")
    with pytest.raises(migrations.MigrationError, match="No such file or directory"):
        migrations.current("postgresql://nobody@/nothing?host=/nowhere")
