"""`uploads`: what an operator does with uploads."""

import click

from cli.uploads.voiding import unvoid, void


@click.group()
def uploads() -> None:
    """Act on uploads that were taken in."""


for command in (void, unvoid):
    uploads.add_command(command)
