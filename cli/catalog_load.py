"""`catalog load`: write a catalog; `catalog reconcile`: list, or repair, what a document server changed."""

import os

import click

from cli import context
from cli.catalog import FORCE, Parts, with_file
from shared import catalog_admin, catalog_form, catalog_reconcile, spool


@click.command()
@with_file
@click.option("--force", is_flag=True, help=FORCE)
@click.option("--dry-run", is_flag=True, help="Only list the stored editions that FILE would change.")
@context.with_store
def load(*, parts: Parts, is_table: bool, force: bool, dry_run: bool, store: context.Store) -> None:
    """Load learners, topics and questions from a FILE; loading it again changes nothing.

    FILE: JSON, NDJSON, CSV, Moodle's XML or QTI, also compressed by gzip; - reads standard input.
    """
    wanted = catalog_form.join(parts())
    keep = {*catalog_form.NOT_IN_TABLES, "retired_at"} if is_table else ()
    with store.engine.connect() as connection:
        changes = catalog_admin.compare(connection, wanted) if dry_run else []
        split = [] if dry_run else catalog_admin.split(connection, wanted, force=force, keep=keep)
    for part in split:
        with store.engine.begin() as connection:
            changes += catalog_admin.load_catalog(connection, part, force=force, keep=keep)
    editions = sum(len(question.editions) for question in wanted.questions)
    click.echo(
        f"{len(wanted.users)} learners, {len(wanted.topics)} topics, {len(wanted.questions)} questions,"
        f" {editions} editions" + (" (nothing is loaded: dry run)" if dry_run else "")
    )
    for change in changes:
        click.echo(str(change))


@click.command()
@click.option(
    "--force",
    is_flag=True,
    help="Grade the listed answers again, and delete the data of the listed learners.",
)
@context.with_store
def reconcile(*, force: bool, store: context.Store) -> None:
    """List answers that the present keys grade differently, and learners who were deleted.

    Exit 1 if any are listed and --force is not given, or if a learner could not be checked. With --force,
    REDIS_URL must be set if there is a spool.
    """
    url = os.environ.get("REDIS_URL")
    redis = spool.connect(url) if url else None
    found = unchecked = 0
    for differences in catalog_reconcile.Differences(store.engine):
        for each in differences:
            if isinstance(each, catalog_reconcile.Unchecked):
                unchecked += 1
                click.echo(str(each))
                continue
            found += 1
            done = ""
            if force:
                with store.engine.begin() as connection:
                    is_done = catalog_reconcile.reconcile(connection, each, redis)
                done = "; reconciled" if is_done else "; nothing was deleted: the learner is there again"
            click.echo(f"{each}{done}")
    click.echo(f"{found} differences" + (f", {unchecked} learners not checked" if unchecked else ""))
    if unchecked or (found and not force):
        raise click.exceptions.Exit(1)
