"""`uploads`: what an operator does with uploads."""

import click

from cli.uploads.listing import list_uploads
from cli.uploads.purging import purge_uploads
from cli.uploads.replaying import replay
from cli.uploads.showing import show
from cli.uploads.voiding import unvoid, void


@click.group()
def uploads() -> None:
    """Find uploads that were taken in, and act on them.

    Exit code 0: done, or nothing was left to do. 1: unknown, or refused with nothing changed. 2: wrong usage.
    """


for command in (list_uploads, show, replay, void, unvoid, purge_uploads):
    uploads.add_command(command)
