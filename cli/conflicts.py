"""`conflicts`: decide between two contents with the same uuid."""

import json
from dataclasses import asdict

import click

from cli import context
from cli.options import BIGINT, COUNT
from shared.ops import actions

HEADINGS = ("id", "upload", "received", "present content received", "upload status")


@click.group()
def conflicts() -> None:
    """Decide between two contents with the same uuid: the present one counts until you decide."""


@conflicts.command("list")
@click.option("--limit", type=COUNT, default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each conflict.")
@context.with_store
def list_(*, limit: int, as_json: bool, store: context.Store) -> None:
    """List conflicts, the highest id first."""
    with store.engine.connect() as connection:
        listed = actions.list_conflicts(connection, limit=limit)
    if as_json:
        for each in listed:
            context.print_json(each._asdict())
    else:
        context.print_table(HEADINGS, listed)


@conflicts.command()
@click.argument("conflict", metavar="ID", type=BIGINT)
@context.with_store
def show(*, conflict: int, store: context.Store) -> None:
    """Show both contents: they have a learner's answers."""
    with store.engine.connect() as connection:
        found = actions.find_conflict(connection, conflict)
    rows = [
        (name.replace("_", " "), value)
        for name, value in asdict(found).items()
        if not name.endswith("payload")
    ]
    context.print_table(("conflict", str(found.id)), rows)
    if found.difference:
        click.echo("\ndifference (- present, + other)")
        for line in found.difference:
            click.echo(context.cell(line).plain)
    for title, payload in (("present", found.present_payload), ("other", found.payload)):
        click.echo(f"\n{title}")
        click.echo("purged" if payload is None else json.dumps(payload, indent=2))


@conflicts.command()
@click.argument("conflict", metavar="ID", type=BIGINT)
@click.confirmation_option(prompt="The other content will be lost. Discard it?")
@context.with_store
def discard(*, conflict: int, store: context.Store) -> None:
    """Delete the other content; the upload keeps its present one."""
    with store.engine.begin() as connection:
        actions.discard_conflict(connection, conflict)
    click.echo("discarded")


@conflicts.command()
@click.argument("conflict", metavar="ID", type=BIGINT)
@context.with_store
def accept(*, conflict: int, store: context.Store) -> None:
    """Let the upload have the other content, which is replayed; the former one is kept as a conflict."""
    with store.engine.begin() as connection:
        uuid = actions.accept_conflict(connection, conflict)
    click.echo(f"{uuid} has the other content now, and waits to be replayed")
