"""`uploads void` and `unvoid`: take sessions out of progress, and back in."""

from datetime import UTC, datetime
from uuid import UUID

import click

from cli.storable import Text
from cli.stores import Store, with_store
from shared.study.voiding import unvoid_upload, void_upload


@click.command()
@click.argument("uuid", type=click.UUID)
@click.option("--reason", type=Text(), required=True, help="Why; kept with the sessions.")
@with_store
def void(uuid: UUID, *, reason: str, store: Store) -> None:
    """Take the sessions of an upload out of the learner's progress; they stay on record."""
    now = datetime.now(UTC)
    count = void_upload(store.engine, uuid, reason=reason, now=now, default_zone=store.default_zone)
    click.echo(f"{count} sessions voided" if count else "voided already")


@click.command()
@click.argument("uuid", type=click.UUID)
@with_store
def unvoid(uuid: UUID, *, store: Store) -> None:
    """Bring the voided sessions of an upload back into the learner's progress."""
    count = unvoid_upload(store.engine, uuid, default_zone=store.default_zone)
    click.echo(f"{count} sessions are back" if count else "not voided")
