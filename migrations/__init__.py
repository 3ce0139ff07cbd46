"""Bring a database to a revision, forward or back.

`alembic revision --rev-id NUMBER -m "what it does"` begins a new revision.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from shared.config import StoreSettings
from shared.db import catalog_is_ours, execute, make_engine, scalar
from shared.errors import ConfigurationError, MigrationError
from shared.models import CATALOG, Base


@contextmanager
def readable_errors() -> Iterator[None]:
    """Convert errors of the driver and of Alembic to a MigrationError with their text."""
    try:
        yield
    except DBAPIError as error:
        raise MigrationError(str(error.orig).strip()) from error
    except (CommandError, RevisionError) as error:
        raise MigrationError(str(error)) from error


@contextmanager
def connected(database_url: str) -> Iterator[Engine]:
    """Make an engine for a deploy, with two connections: one holds the lock, the other migrates."""
    engine = make_engine(StoreSettings(database_url=database_url), pool_size=2, scanning=True)
    try:
        yield engine
    finally:
        engine.dispose()


def upgrade(database_url: str, revision: str = "head") -> None:
    """Go forward to the revision; do nothing if the database is there already."""
    with readable_errors():
        command.upgrade(_config(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Go back to the revision, and lose what later ones added; `base` goes back before the first revision."""
    with readable_errors():
        command.downgrade(_config(database_url), revision)


def current(database_url: str) -> str | None:
    """Return the database's revision, or None if the schema was never migrated.

    Raises MigrationError if the schema is another application's.
    """
    with readable_errors(), connected(database_url) as engine, engine.connect() as connection:
        require_ours(connection)
        return MigrationContext.configure(connection).get_current_revision()


def pending(database_url: str) -> list[str]:
    """List the revisions that `upgrade` would apply, in their order."""
    script = ScriptDirectory.from_config(_config(database_url))
    with readable_errors():
        steps = script.iterate_revisions("head", current(database_url) or "base")
        return [step.revision for step in steps][::-1]


def _config(database_url: str) -> Config:
    config = Config(attributes={"database_url": database_url})
    folder = str(Path(__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))  # Alembic would expand %
    return config


# The first revision writes this mark as the comment of `alembic_version`: a document server may have a table
# of that name, with the same revision numbers. Our databases that are older than the mark are recognised by
# the table `upload_conflicts`.
MARK = "study-ingest"
_IS_OURS = text("""
    SELECT obj_description(to_regclass('alembic_version'), 'pg_class') = :mark
        OR to_regclass('upload_conflicts') IS NOT NULL
""")

_RELATIONS = text("""
    SELECT relname, relkind = 'v' AS is_view FROM pg_class
    WHERE relnamespace = to_regnamespace(current_schema()) AND relname = ANY(CAST(:names AS text[]))
    ORDER BY relname
""")

_ROLE = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :schema)")


def require_free_name(connection: Connection, schema: str) -> None:
    """Raise ConfigurationError if a role has the schema's name: that role would find our tables first."""
    if scalar(connection, _ROLE, {"schema": schema}):
        raise ConfigurationError(
            f"DATABASE_SCHEMA: there is a role {schema}, which would find our tables instead of those of the"
            ' same name in public (its search_path begins with "$user"): choose another name'
        )


def create_schema(connection: Connection) -> None:
    """Create the schema of our tables, if it does not exist."""
    if scalar(connection, text("SELECT current_schema()")) is None:
        path = scalar(connection, text("SELECT current_setting('search_path')"))
        require_free_name(connection, path.strip('"'))
        connection.exec_driver_sql(f"CREATE SCHEMA {path}")


def require_ours(connection: Connection) -> None:
    """Raise MigrationError if tables of another application have our tables' names, or if views are missing.

    The catalog's tables may be views, which the owner of the catalog has made: then all views must exist.
    """
    if scalar(connection, _IS_OURS, {"mark": MARK}):
        return
    names = ["alembic_version", *Base.metadata.tables]
    found = dict(execute(connection, _RELATIONS, {"names": names}).fetchall())
    views = {name for name in CATALOG if found.get(name)}
    schema = scalar(connection, text("SELECT current_schema()"))
    if foreign := [name for name in found if name not in views]:
        raise MigrationError(
            f"DATABASE_SCHEMA: the schema {schema} has tables of another application"
            f" ({', '.join(foreign)}): set DATABASE_SCHEMA to a schema for our tables alone"
            " (see study-ingest adopt)"
        )
    if views and (missing := sorted(CATALOG - views)):
        raise MigrationError(
            f"DATABASE_SCHEMA: the schema {schema} has views of the catalog, but lacks {', '.join(missing)}:"
            " create these views with the SQL that study-ingest adopt prints"
        )


def in_catalog(reference: str) -> str:
    """Return the constraint `reference`, or an empty text if the catalog consists of views.

    No constraint can reference a view.
    """
    return reference if catalog_is_ours(op.get_bind()) else ""


LOCK_KEY = 0x73747564795F696E  # "study_in": any number that no other program locks in this database
LOCK_WAIT_S = 600.0  # longer than any migration of ours
LOCK_POLL_S = 0.2


@contextmanager
def deploy_lock(engine: Engine, wait: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the database's advisory lock; wait for it at most `wait` seconds.

    The lock is polled, on a connection of its own: a session that waits inside `pg_advisory_lock` keeps a
    snapshot, and the other deploy's CREATE INDEX CONCURRENTLY would wait for that snapshot to end.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        deadline = time.monotonic() + wait
        while not connection.scalar(select(func.pg_try_advisory_lock(LOCK_KEY))):
            if time.monotonic() > deadline:
                raise MigrationError(
                    f"another deploy is still migrating this database after {wait:g} s: try again later"
                )
            time.sleep(LOCK_POLL_S)
        try:
            yield
        finally:
            connection.scalar(select(func.pg_advisory_unlock(LOCK_KEY)))


# A statement that waits for a lock makes every later query of that table wait behind it: give up soon.
LOCKING = "SET lock_timeout = '5s'; SET statement_timeout = '60s'"
# CONCURRENTLY waits for every older transaction but blocks none; if interrupted, it leaves an invalid index.
CONCURRENT = "SET lock_timeout = 0; SET statement_timeout = '1h'"


@contextmanager
def concurrently() -> Iterator[None]:
    """Let CONCURRENTLY statements run outside of a transaction, and as long as they need."""
    with op.get_context().autocommit_block():
        op.execute(CONCURRENT)
        yield
        op.execute(LOCKING)
