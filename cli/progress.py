"""`progress`: what is known of a learner."""

import json

import click
from sqlalchemy import text

from cli.storable import BIGINT
from cli.stores import Store, with_store
from shared.study.store import list_progress


@click.command()
@click.option("--user", "user_id", type=BIGINT, required=True, metavar="ID", help="The learner.")
@with_store
def progress(user_id: int, *, store: Store) -> None:
    """Print a learner's progress: one JSON line a question, sorted by `pub_id`."""
    with store.engine.connect() as connection:
        known = text("SELECT 1 FROM users WHERE id = :id")
        if connection.execute(known, {"id": user_id}).one_or_none() is None:
            raise click.ClickException(f"learner {user_id} is unknown")
        for line in list_progress(connection, user_id):
            click.echo(json.dumps(line))
