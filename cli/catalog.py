"""`catalog`: the questions that uploads are resolved against."""

from pathlib import Path

import click

from cli.stores import Store, with_store
from shared.catalog_admin import load_catalog, read_catalog


@click.group()
def catalog() -> None:
    """Load the questions that uploads are resolved against."""


@catalog.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Change owners and right choices, grade and fold again.")
@with_store
def load(file: Path, *, force: bool, store: Store) -> None:
    """Load learners, topics and questions from a JSON FILE; loading it again changes nothing."""
    read = read_catalog(file)
    change = load_catalog(store.engine, read, default_zone=store.default_zone, force=force)
    click.echo(f"{len(read.users)} learners, {len(read.topics)} topics, {len(read.questions)} questions")
    if change.regraded:
        click.echo(f"graded again: {len(change.regraded)} questions")
