"""What stops a migration."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from shared.errors import StudyIngestError


class MigrationError(StudyIngestError):
    """A migration stopped; the database stands at the last revision that was finished."""


@contextmanager
def readable_errors() -> Iterator[None]:
    """Raise MigrationError, one sentence, in place of what the driver or Alembic raised."""
    try:
        yield
    except DBAPIError as error:
        raise MigrationError(str(error.orig).strip()) from error
    except (CommandError, RevisionError) as error:
        raise MigrationError(str(error)) from error
