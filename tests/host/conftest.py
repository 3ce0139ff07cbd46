"""A document server with rows of its own, and ways to adopt us there."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from sqlalchemy import Engine, make_url

from cli.local.servers import Servers
from cli.main import main
from shared.config import StoreSettings
from shared.db import make_engine
from tests.conftest import administer, fresh_database, with_database
from tests.host.app import create_app
from tests.host.schema import tables

SCHEMA = "learning"


@dataclass
class Host:
    """A document server, its database, and the programs of Postgres."""

    url: str
    servers: Servers
    client: FlaskClient

    def add(self, table: str, **row: Any) -> Any:
        answer = self.client.post(f"/{table}", json=row)
        assert answer.status_code == 201, answer.text
        return answer.json

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def program(self, name: str, *arguments: str, text: str = "") -> str:
        path = self.servers.postgres.programs / name
        ran = subprocess.run(
            [path, "--dbname", self.url, *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env={"LC_ALL": "C"},
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def dump(self) -> str:
        """Return all of its schema and rows; two lines of a dump have a key of their own."""
        lines = self.program("pg_dump").splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    def ours(self, *words: str, **environment: str) -> Result:
        """Run a command of study-ingest on the database."""
        known = {"DATABASE_URL": self.url, "DATABASE_SCHEMA": SCHEMA, "REDIS_URL": ""} | environment
        return CliRunner().invoke(main, words, env=known)

    def adopt(self) -> str:
        """Run what `adopt` prints, unread, and migrate; return it."""
        views = self.ours("adopt", "--catalog", "views")
        assert views.exit_code == 0, views.output
        assert "FILL IN" not in views.stdout
        self.program("psql", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f", "-", text=views.stdout)
        migrated = self.ours("migrate")
        assert migrated.exit_code == 0, migrated.output
        return views.stdout


@pytest.fixture(scope="session", params=["int", "uuid"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the type of the users' ids."""
    return str(request.param)


def serve(servers: Servers, url: str) -> Host:
    url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    app = create_app(url)
    app.testing = True
    return Host(url, servers, app.test_client())


def make_template(servers: Servers, name: str, template: str = "template0") -> Host:
    administer(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    return serve(servers, with_database(servers.database_url, name))


@pytest.fixture(scope="session")
def plain_template(servers: Servers, kind: str) -> str:
    host = make_template(servers, f"host_{kind}")
    host.program("psql", "-v", "ON_ERROR_STOP=1", "-f", "-", text=tables(kind))
    return f"host_{kind}"


@pytest.fixture(scope="session")
def adopted_template(servers: Servers, kind: str, plain_template: str) -> str:
    make_template(servers, f"adopted_{kind}", plain_template).adopt()
    return f"adopted_{kind}"


@pytest.fixture
def host(servers: Servers, plain_template: str) -> Iterator[Host]:
    """Serve two users of a document server."""
    for url in fresh_database(servers, plain_template):
        yield serve(servers, url)


@pytest.fixture
def adopted(servers: Servers, adopted_template: str) -> Iterator[Host]:
    """Serve them where it has adopted us."""
    for url in fresh_database(servers, adopted_template):
        yield serve(servers, url)


@pytest.fixture
def engine(adopted: Host) -> Iterator[Engine]:
    engine = make_engine(StoreSettings(database_url=adopted.url, database_schema=SCHEMA), pool_size=3)
    yield engine
    engine.dispose()
