"""Bring a database to a revision, forward or back.

`alembic revision --rev-id NUMBER -m "what it does"` begins a new revision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from migrations.schema import require_ours
from shared.config import StoreSettings
from shared.db import make_engine
from shared.errors import MigrationError


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
    """Go back to the revision (`base`: before the first), and lose what later revisions added."""
    with readable_errors():
        command.downgrade(_config(database_url), revision)


def current(database_url: str) -> str | None:
    """Return the database's revision; None if its schema was never migrated.

    Raises MigrationError where the schema is another application's.
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
