"""`up`: run everything on this machine until told to stop."""

from contextlib import suppress
from pathlib import Path

import click

from cli.datadir import ENV
from cli.running import running
from cli.stores import data_dir_option

USUAL_PORT = 8000


@click.command()
@data_dir_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=USUAL_PORT, show_default=True, help="0: any free one."
)
def up(data_dir: Path, *, port: int) -> None:
    """Start everything and keep it running; print `ready URL` when uploads are accepted.

    Postgres and Valkey are embedded and live in the data directory, unless DATABASE_URL or BROKER_URL is set.
    """
    with suppress(KeyboardInterrupt), running(data_dir, port) as everything:
        api, flower = everything.environment["API_URL"], everything.environment["FLOWER_URL"]
        click.echo(f"ready {api}")
        click.echo(f"operators look at {api}/ops and {flower}")
        click.echo(f"addresses, tokens and passwords are in {data_dir / ENV}")
        everything.processes.wait()
