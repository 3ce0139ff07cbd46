"""The stores and processes that are measured: as durable as those of `up`, and made for each run."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

import migrations
from cli.local.servers import Servers
from cli.local.supervisor import Supervisor, to_files, wait_until
from cli.local.up import LOOPBACK, free_port, read_procfile
from shared.config import Settings
from shared.db import make_engine

READY_SECONDS = 60.0
PROCFILE = read_procfile()
# gevent's patches come first, as in our own web process: all web processes that are compared use greenlets.
GEVENT = "python -m gevent.monkey --module"
# Tokens of servers that exist only for the minutes of a benchmark.
TOKEN = "viewer of a benchmark"  # noqa: S105
STUDY_TOKEN = "front of a benchmark"  # noqa: S105
CATALOG_TOKEN = "catalog of a benchmark"  # noqa: S105


@dataclass(frozen=True)
class Stores:
    """Postgres and Valkey, with one migrated database from which others are copied."""

    directory: Path
    servers: Servers

    def settings(self, database: str, **changes: object) -> Settings:
        """Return the settings of processes that use a database of these stores."""
        return Settings(
            database_url=self.url(database),
            broker_url=self.servers.broker_url,
            redis_url=self.servers.redis_url,
            study_ingest_enabled=True,
            viewer_sync_token=TOKEN,
            study_api_token=STUDY_TOKEN,
            catalog_token=CATALOG_TOKEN,
        ).model_copy(update=changes)

    def url(self, database: str) -> str:
        """Return a database's URL, in SQLAlchemy's form."""
        url = make_url(self.servers.database_url).set(database=database)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def database(self, name: str, template: str = "migrated") -> Iterator[str]:
        """Copy a database for the length of a `with`."""
        self.administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield name
        finally:
            self.administer(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def engine(self, database: str) -> Iterator[Engine]:
        """Connect as a worker does."""
        engine = make_engine(self.settings(database))
        try:
            yield engine
        finally:
            engine.dispose()

    def redis(self) -> Redis:
        """Connect to the server that holds Celery's queues and the spool."""
        return Redis(unix_socket_path=str(self.servers.valkey.socket))

    def administer(self, statement: str) -> None:
        """Run a statement outside every database that is measured."""
        with psycopg.connect(libpq(self.servers.database_url), autocommit=True) as connection:
            connection.execute(statement.encode())


def libpq(url: str) -> str:
    """Return a URL in libpq's form."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def start_stores() -> Iterator[Stores]:
    """Start the stores, and remove them with all their data at the end."""
    directory = Path(tempfile.mkdtemp(prefix="study-ingest-benchmark-"))
    directory.chmod(0o711)  # if root starts the servers, they run as another user, who must be able to enter
    try:
        with Servers(directory / "servers", durable=True) as servers:
            stores = Stores(directory, servers)
            stores.administer("CREATE DATABASE migrated")
            migrations.upgrade(stores.url("migrated"))
            yield stores
    finally:
        shutil.rmtree(directory)


@contextmanager
def running(stores: Stores, settings: Settings, commands: Mapping[str, str]) -> Iterator[Supervisor]:
    """Run commands for the length of a `with`, as `up` does; their output goes to files."""
    with Supervisor(commands, to_files(stores.directory / "logs"), variables(settings)) as processes:
        yield processes


def variables(settings: Settings) -> dict[str, str]:
    """Return the environment variables of processes with these settings."""
    values = settings.model_dump(mode="json", exclude_none=True)
    values |= {"viewer_sync_token": TOKEN, "study_api_token": STUDY_TOKEN, "catalog_token": CATALOG_TOKEN}
    programs = str(Path(sys.executable).parent)
    path = {"PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])}
    return os.environ | path | {name.upper(): str(value) for name, value in values.items()}


@contextmanager
def serving(stores: Stores, settings: Settings, command: str) -> Iterator[int]:
    """Run a web process, ours or another design's, until the end of the `with`; yield its port."""
    port = free_port()
    with running(stores, settings.model_copy(update={"port": port}), {f"web-{port}": command}) as processes:

        def answers() -> bool:
            processes.check()
            try:
                httpx.get(f"http://{LOOPBACK}:{port}/readyz", trust_env=False)
            except httpx.TransportError:
                return False
            return True

        if not wait_until(answers, READY_SECONDS):
            raise TimeoutError(f"{command}: no answer within {READY_SECONDS:g} s")
        yield port
