"""`verify`: whether every learner's progress is what the attempts say."""

import click

from cli.stores import Store, with_store
from shared.study import finalize as check


@click.command()
@click.option("--repair", is_flag=True, help="Fold again what differs, under the learner's lock.")
@with_store
def verify(*, repair: bool, store: Store) -> None:
    """Fold every attempt log afresh and compare; exit 1 if any progress differs and was not repaired."""
    learners = differing = 0
    for checked in check.verify(store.engine, default_zone=store.default_zone, repair=repair):
        learners += 1
        differing += len(checked.differing)
        if checked.differing:
            click.echo(f"learner {checked.user_id}: {len(checked.differing)} questions differ", err=True)
    click.echo(f"{learners} learners, {differing} differences{', repaired' if repair and differing else ''}")
    if differing and not repair:
        raise click.exceptions.Exit(1)
