"""Real servers: one Postgres and one Valkey for each run, and a fresh database for each test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import psycopg
import pytest
from playwright.sync_api import Playwright, expect, sync_playwright
from redis import Redis
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

import migrations
from cli.local.servers import Servers
from shared.config import Settings
from tests.processes import PATIENCE_S, reachable_directory
from tests.receiver import Receiver, receiving

TEMPLATE = "migrated"

# A shell that runs the tests in the background lets them ignore SIGINT; their processes would inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: it would test how fast the machine is. `--hypothesis-profile=long` looks for rare orders of
# delivery. CI uses the same examples each time; every other run uses new examples.
hypothesis.settings.register_profile("quick", max_examples=50, deadline=None, print_blob=True)
hypothesis.settings.register_profile("long", max_examples=2500, deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("quick"), derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with reachable_directory() as home, Servers(home / "servers", durable=False) as servers:
        yield servers


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a directory that the servers of a test can enter."""
    with reachable_directory() as path:
        yield path


def with_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def administer(url: str, statement: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture(scope="session")
def template_url(servers: Servers) -> str:
    administer(servers.database_url, f"CREATE DATABASE {TEMPLATE}")
    url = with_database(servers.database_url, TEMPLATE)
    migrations.upgrade(url)
    return url


def fresh_database(servers: Servers, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    # Without fsync, copying files takes a third of the time that the usual strategy, WAL_LOG, takes.
    administer(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield with_database(servers.database_url, name)
    administer(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(servers: Servers, template_url: str) -> Iterator[str]:
    """Copy the migrated template, so that tests really commit and race."""
    assert template_url
    yield from fresh_database(servers, TEMPLATE)


@pytest.fixture
def empty_database_url(servers: Servers) -> Iterator[str]:
    yield from fresh_database(servers, "template0")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def broker_url(servers: Servers) -> str:
    with Redis.from_url(servers.redis_url) as redis:
        redis.flushall()
    return servers.broker_url


@pytest.fixture
def settings(database_url: str, broker_url: str, servers: Servers) -> Settings:
    return Settings(
        database_url=database_url,
        broker_url=broker_url,
        redis_url=servers.redis_url,
        study_ingest_enabled=True,
        viewer_sync_token="viewer-token-of-tests",
        study_api_token="study-token-of-tests",
        store_deadline=10.0,  # tests run side by side, on a machine that has other work
    )


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Start Playwright once: a process cannot start it twice."""
    expect.set_options(timeout=PATIENCE_S * 1000)  # instead of 5 s
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Receive webhooks, and answer them as the test says."""
    with receiving() as receiver:
        yield receiver
