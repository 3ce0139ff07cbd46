"""Every command, and errors without tracebacks."""

from typing import Any

import click
from psycopg import OperationalError
from psycopg.errors import (
    DeadlockDetected,
    LockNotAvailable,
    QueryCanceled,
    UndefinedColumn,
    UndefinedTable,
)
from sqlalchemy.exc import DBAPIError

from cli.catalog import catalog
from cli.completion import completion
from cli.conflicts import conflicts
from cli.demo import demo
from cli.doctor.command import doctor
from cli.followups import followups
from cli.local.up import up
from cli.metrics import metrics
from cli.migrate import migrate
from cli.progress import progress
from cli.smoke.command import smoke
from cli.stats import stats
from cli.upload import upload
from cli.uploads import uploads
from cli.verify import verify
from shared.errors import StudyIngestError


class Commands(click.Group):
    """Tell a user's mistakes in a line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except StudyIngestError as error:
            raise click.ClickException(str(error)) from None
        except DBAPIError as error:
            raise click.ClickException(_in_a_line(error)) from None


def _in_a_line(error: DBAPIError) -> str:
    said = str(error.orig).partition("\n")[0]
    match error.orig:
        case LockNotAvailable() | QueryCanceled() | DeadlockDetected():
            return f"somebody else holds what this needs ({said}); try again"
        case UndefinedTable() | UndefinedColumn():
            return f"{said}; is the database migrated? (study-ingest migrate)"
        case OperationalError():
            return f"Postgres cannot be reached: {said}"
    return said


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="study-ingest")
def main() -> None:
    """Take in quiz sessions that a viewer solved offline: exactly once, in any order."""


for command in (
    up,
    demo,
    migrate,
    catalog,
    upload,
    uploads,
    followups,
    progress,
    verify,
    doctor,
    conflicts,
    completion,
    stats,
    smoke,
    metrics,
):
    main.add_command(command)
