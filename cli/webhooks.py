"""`webhooks`: list webhooks, and send failed ones again."""

import click

from cli import context
from cli.options import COUNT
from shared.webhooks import Listed, Status, list_webhooks, retry_webhooks

UNDELIVERED = click.Choice([Status.DEAD, Status.SKIPPED], case_sensitive=False)


@click.group()
def webhooks() -> None:
    """List webhooks, and send failed ones again."""


@webhooks.command("list")
@click.option("--status", type=click.Choice(Status, case_sensitive=False), default=Status.DEAD)
@click.option("--limit", type=COUNT, default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each webhook.")
@context.with_store
def list_(*, status: Status, limit: int, as_json: bool, store: context.Store) -> None:
    """List webhooks of a status, by default dead ones, the newest first."""
    with store.engine.connect() as connection:
        found = list_webhooks(connection, status, limit=limit)
    if as_json:
        for each in found:
            context.print_json(each._asdict())
    else:
        context.print_table(Listed._fields, found)


@webhooks.command()
@click.option("--status", type=UNDELIVERED, default=Status.DEAD)
@context.with_store
def retry(*, status: Status, store: context.Store) -> None:
    """Set all dead webhooks, or all skipped ones, back to `waiting`.

    Webhooks of voided sessions, and `progress.changed`, stay as they are.
    """
    with store.engine.begin() as connection:
        click.echo(f"{retry_webhooks(connection, status)} webhooks wait again")
