"""Every command, and errors without tracebacks."""

from typing import Any

import click
from click.shell_completion import get_completion_class
from psycopg import OperationalError
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled, UndefinedColumn, UndefinedTable
from sqlalchemy.exc import DBAPIError

from cli.conflicts import conflicts
from cli.demo import demo
from cli.doctor import doctor
from cli.followups import followups
from cli.local.up import up
from cli.maintenance import catalog, metrics, migrate, progress, stats, verify
from cli.smoke import smoke
from cli.uploads import upload, uploads
from shared.errors import StudyIngestError

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script, to be sourced: `source <(study-ingest completion bash)`."""
    if complete := get_completion_class(shell):
        script = complete(context.find_root().command, {}, "study-ingest", "_STUDY_INGEST_COMPLETE")
        # Not `source`, which would ask an installed bash for its version first.
        click.echo(script.source_template % script.source_vars())


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
