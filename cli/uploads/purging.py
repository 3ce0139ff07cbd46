"""`uploads purge`: forget payloads that nothing needs any more."""

from datetime import UTC, datetime, timedelta

import click

from cli.duration import Duration
from cli.stores import Store, with_store
from shared.ops.actions import count_purgeable, purge
from shared.uploads import Status

FINAL = (Status.INGESTED, Status.REJECTED, Status.DEAD)


@click.command("purge")
@click.option("--older-than", type=Duration(), required=True, help="Final for longer than this, e.g. 90d.")
@click.option(
    "--status",
    type=click.Choice(FINAL, case_sensitive=False),
    default=Status.INGESTED,
    help="By default ingested: without its payload, a rejected or dead upload can never be replayed.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@with_store
def purge_uploads(*, older_than: timedelta, status: Status, dry_run: bool, store: Store) -> None:
    """Forget the answers of uploads that are done; their rows stay, so that nothing is taken in twice."""
    before = datetime.now(UTC) - older_than
    if dry_run:
        click.echo(f"{count_purgeable(store.engine, status, before=before)} payloads would be purged")
    else:
        click.echo(f"{sum(purge(store.engine, status, before=before))} payloads purged")
