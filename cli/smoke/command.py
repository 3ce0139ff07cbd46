"""The command: send a synthetic session through everything, and say by the exit code what came of it."""

import os
from math import isnan

import click

from cli.doctor.finding import line
from cli.sender import Sender
from cli.smoke.trial import Trial
from cli.stores import Store, with_store
from shared.errors import ConfigurationError

LONGEST_PATIENCE_S = 3600


def _comparable(_: click.Context, option: click.Parameter, seconds: float) -> float:
    if isnan(seconds):
        raise click.BadParameter("must be a number of seconds", param=option)
    return seconds


@click.command()
@click.option("--url", help="The server.  [default: API_URL, or that of a running `up`]")
@click.option(
    "--patience",
    type=click.FloatRange(0, LONGEST_PATIENCE_S, min_open=True),
    callback=_comparable,
    default=60.0,
    show_default=True,
    help="Longest wait for the session to be replayed, in seconds.",
)
@with_store
def smoke(*, url: str | None, patience: float, store: Store) -> None:
    """Send a synthetic session twice, see that it is learned from once, and void it. Exit 1 if not.

    Needs VIEWER_SYNC_TOKEN and DATABASE_URL, as the server has them. Safe to run on a live system.
    """
    token = _needed("VIEWER_SYNC_TOKEN").split(",")[0].strip()
    with Sender(url or _needed("API_URL"), token) as sender:
        trial = Trial(sender, store, patience)
        try:
            sound = _tell(trial)
        finally:
            trial.clear()
    if not sound:
        raise click.exceptions.Exit(1)


def _tell(trial: Trial) -> bool:
    """Print what each step finds; tell whether none failed."""
    sound = True
    for found in trial.findings():
        click.echo(line(found))
        sound = sound and found.level != "fail"
    return sound


def _needed(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ConfigurationError(f"{name}: set it as the server has it")
