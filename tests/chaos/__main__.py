"""The long form: `python -m tests.chaos --minutes N --seed S`."""

import random
import shutil
import sys
import tempfile
from pathlib import Path

import click

from tests.chaos.run import FAULTS, run


@click.command()
@click.option("--minutes", default=15.0, show_default=True, help="At least one round of all faults.")
@click.option("--seed", type=int, help="Of the load and of the faults' order; printed.  [default: any]")
@click.option("--only", metavar="FAULT", multiple=True, help="Only faults whose name has this in it.")
def main(minutes: float, seed: int | None, only: tuple[str, ...]) -> None:
    """Inject faults into an installation under load; exit 1 if any upload is lost, doubled or miscounted."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    faults = [fault for fault in FAULTS if not only or any(part in fault.name for part in only)]
    if not faults:
        raise click.UsageError("no such fault; there are: " + ", ".join(fault.name for fault in FAULTS))
    click.echo(f"seed {seed}", err=True)
    home = Path(tempfile.mkdtemp(prefix="study-ingest-chaos-"))
    home.chmod(0o711)  # as root the servers run as another user, who must pass through here
    result = run(home, seed, faults, minutes=minutes)
    result.show(faults)
    if not result.is_clean:
        sys.exit(f"the logs are in {home}")  # which exits with 1
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
