"""`uploads replay`: give uploads another chance, or look first what that would do."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import click

from cli.storable import Text
from cli.stores import Store, with_store
from cli.uploads.sheet import print_table
from shared.errors import ReplayRefusedError
from shared.ops.actions import Revival, add_skipped, count_purged, find_failed, revive_all, revive_one
from shared.ops.dry_run import Card, Rehearsal, rehearse_replay, rehearse_skipped
from shared.ops.search import Search
from shared.uploads import Status

FAILED = click.Choice([Status.REJECTED, Status.DEAD], case_sensitive=False)


@click.command()
@click.argument("uuid", type=click.UUID, required=False)
@click.option("--status", type=FAILED, help="All of this status.")
@click.option(
    "--error", type=Text(), metavar="TEXT", help="All failed with this in their last error or reason."
)
@click.option("--skipped", is_flag=True, help="Add what was skipped of an ingested UUID.")
@click.option("--dry-run", is_flag=True, help="Show what would become of every card; change nothing.")
@with_store
def replay(  # noqa: PLR0913  # one for each option
    uuid: UUID | None, *, status: Status | None, error: str | None, skipped: bool, dry_run: bool, store: Store
) -> None:
    """Set rejected or dead uploads back to `received`: the sweeper rings for them at once.

    Name one by its UUID, or many by --status and --error. Exit 1 if any was refused; of many, those that are
    purged are passed over.
    """
    many = status is not None or error is not None
    if many == (uuid is not None) or (skipped and uuid is None):
        raise click.UsageError("name one UUID, or many by --status or --error; --skipped needs a UUID")
    if uuid is None:
        _replay_many(store, Search(status=status, error=error), dry_run=dry_run)
    elif dry_run:
        _show(_rehearse(store, uuid, skipped=skipped))
    elif skipped:
        added = add_skipped(store.engine, uuid, now=datetime.now(UTC), default_zone=store.default_zone)
        click.echo(f"{added} attempts added")
    else:
        click.echo(f"{uuid} {revive_one(store.engine, uuid)}")


def _replay_many(store: Store, wanted: Search, *, dry_run: bool) -> None:
    if dry_run:
        _rehearse_many(store, wanted)
        return
    counts = Counter(revival for _, revival in revive_all(store.engine, wanted))
    with store.engine.connect() as connection:
        counts[Revival.PURGED] = count_purged(connection, wanted)
    click.echo(", ".join(f"{counts[each]} {each}" for each in Revival if counts[each]) or "none found")


def _rehearse_many(store: Store, wanted: Search) -> None:
    """Rehearse each by itself: what one would do for another is not shown."""
    with store.engine.connect() as connection:
        found, purged = find_failed(connection, wanted), count_purged(connection, wanted)
    refused = 0
    for upload in found:
        try:
            _show(_rehearse(store, upload, skipped=False))
        except ReplayRefusedError as error:
            click.echo(str(error), err=True)
            refused += 1
    click.echo(f"{len(found)} rehearsed, {refused} refused, {purged} purged")
    if refused:
        raise click.exceptions.Exit(1)


def _rehearse(store: Store, uuid: UUID, *, skipped: bool) -> Rehearsal:
    rehearse = rehearse_skipped if skipped else rehearse_replay
    return rehearse(store.engine, uuid, now=datetime.now(UTC), default_zone=store.default_zone)


def _show(rehearsal: Rehearsal) -> None:
    upload = rehearsal.upload
    if rehearsal.already:
        click.echo(f"{upload.client_session_uuid} {rehearsal.already}")
        return
    why = f" ({upload.reason})" if upload.reason else ""
    click.echo(f"{upload.client_session_uuid} would be {upload.status}{why}; nothing was changed")
    if moved := rehearsal.moved:
        rows = [(pub_id, *_moves(before, after)) for pub_id, before, after in moved]
        print_table(("question", *Card._fields), rows)
    else:
        click.echo("no card would move")


def _moves(before: Card | None, after: Card | None) -> list[str]:
    olds = [_written(value) for value in before] if before else ["new"] * len(Card._fields)
    news = [_written(value) for value in after] if after else ["gone"] * len(Card._fields)
    return [old if old == new else f"{old} → {new}" for old, new in zip(olds, news, strict=True)]


def _written(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
