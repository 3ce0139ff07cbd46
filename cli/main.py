"""Every command, and errors without tracebacks."""

from typing import Any

import click
from sqlalchemy.exc import OperationalError, ProgrammingError

from cli.catalog import catalog
from cli.completion import completion
from cli.conflicts import conflicts
from cli.demo import demo
from cli.doctor import doctor
from cli.followups import followups
from cli.metrics import metrics
from cli.migrate import migrate
from cli.progress import progress
from cli.smoke import smoke
from cli.stats import stats
from cli.up import up
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
        except OperationalError as error:
            raise click.ClickException(f"Postgres cannot be reached: {error.orig}") from None
        except ProgrammingError as error:
            raise click.ClickException(
                f"{error.orig}; is the database migrated? (study-ingest migrate)"
            ) from None


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
