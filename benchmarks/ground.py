"""Where it is measured: servers of our own, as durable as those of `up`, and real processes."""

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
# As our own web process does, so that all sides are served alike.
GREEN = "python -m gevent.monkey --module"
TOKEN = "benchmark"  # noqa: S105  # it opens what lives for minutes


@dataclass(frozen=True)
class Ground:
    """Servers with one migrated database, from which others are copied."""

    home: Path
    servers: Servers

    def settings(self, database: str, **changes: object) -> Settings:
        """Return the settings of processes that use a database of these servers."""
        return Settings(
            database_url=self.url(database),
            broker_url=self.servers.broker_url,
            redis_url=self.servers.redis_url,
            study_ingest_enabled=True,
            viewer_sync_token=TOKEN,
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

    def broker(self) -> Redis:
        """Connect to Celery's queues."""
        return Redis(unix_socket_path=str(self.servers.valkey.socket))

    def administer(self, statement: str) -> None:
        """Run a statement outside every database that is measured."""
        with psycopg.connect(plain(self.servers.database_url), autocommit=True) as connection:
            connection.execute(statement.encode())


def plain(url: str) -> str:
    """Return a URL in libpq's form."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def ground() -> Iterator[Ground]:
    """Start the servers, and remove them with all that they hold at the end."""
    home = Path(tempfile.mkdtemp(prefix="study-ingest-benchmark-"))
    home.chmod(0o711)  # as root the servers run as another user, who must pass through here
    try:
        with Servers(home / "servers", durable=True) as servers:
            made = Ground(home, servers)
            made.administer("CREATE DATABASE migrated")
            migrations.upgrade(made.url("migrated"))
            yield made
    finally:
        shutil.rmtree(home)


@contextmanager
def running(ground: Ground, settings: Settings, commands: Mapping[str, str]) -> Iterator[Supervisor]:
    """Run commands for the length of a `with`, as `up` does; their words go to files."""
    with Supervisor(commands, to_files(ground.home / "logs"), environment(settings)) as processes:
        yield processes


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of processes with these settings."""
    told = settings.model_dump(mode="json") | {"viewer_sync_token": TOKEN}
    programs = str(Path(sys.executable).parent)
    path = {"PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])}
    return os.environ | path | {name.upper(): str(value) for name, value in told.items()}


@contextmanager
def serving(ground: Ground, settings: Settings, command: str) -> Iterator[int]:
    """Run a web process, ours or another, and say at which port."""
    port = free_port()
    with running(ground, settings.model_copy(update={"port": port}), {f"web-{port}": command}) as processes:
        if not wait_until(lambda: _answers(port, processes), READY_SECONDS):
            raise TimeoutError(f"{command} does not serve")
        yield port


def _answers(port: int, processes: Supervisor) -> bool:
    processes.check()
    try:
        httpx.get(f"http://{LOOPBACK}:{port}/readyz", trust_env=False)
    except httpx.TransportError:
        return False
    return True
