"""`migrate`: bring the database to the newest revision."""

from pathlib import Path

import click

import migrations
from cli.stores import adopt, data_dir_option
from shared.config import StoreSettings, load_settings


@click.command()
@data_dir_option
def migrate(data_dir: Path) -> None:
    """Bring the database to the newest revision; safe to run again, and from several hosts at once."""
    adopt(data_dir)
    url = load_settings(StoreSettings).database_url
    pending = migrations.pending(url)
    migrations.upgrade(url)
    click.echo(f"{len(pending)} revisions applied" if pending else "nothing to do")
