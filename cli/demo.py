"""`demo`: start everything, send a sample of sessions, and show what was learned from them."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console

from cli.closing import closing_words
from cli.datadir import DEFAULT_DIRECTORY, TRAVERSABLE
from cli.local.up import USUAL_PORT, Running, running
from cli.sender import Sender
from cli.stage import BrokenPromiseError, Stage
from cli.story import tell
from shared.config import StoreSettings
from shared.db import make_engine

LOGS = "logs"


@click.command()
@click.option("--once", is_flag=True, help="Exit when the story is told; --data-dir keeps its logs.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="STUDY_INGEST_DATA_DIR",
    help=f"As of `up`.  [default: {DEFAULT_DIRECTORY}; with --once a temporary one]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"0: any free one.  [default: {USUAL_PORT}; with --once any free one]",
)
def demo(*, once: bool, data_dir: Path | None, port: int | None) -> None:
    """Start everything, send a sample of sessions, and show what was learned; then keep running.

    Everything that should be so is checked; exit 1 if anything is not. Safe to run again.
    """
    console = Console(highlight=False)
    with ExitStack() as cleanup:
        home = cleanup.enter_context(_home(data_dir, once=once))
        with console.status("starting Postgres, Valkey and every process"):
            everything = cleanup.enter_context(running(home, _port(port, once=once), logs=home / LOGS))
        console.print(f"Everything runs; its logs are in {home / LOGS}", markup=False, soft_wrap=True)
        token = everything.environment["VIEWER_SYNC_TOKEN"].split(",")[0].strip()
        _tell(everything, token, console)
        console.print("\n[bold]Everything was as it should be.[/]")
        if not once:
            words = closing_words(everything.environment, token, home)
            console.print(words, markup=False, soft_wrap=True)
            with suppress(KeyboardInterrupt):
                everything.processes.wait()


@contextmanager
def _home(data_dir: Path | None, *, once: bool) -> Iterator[Path]:
    if data_dir or not once:
        yield data_dir or DEFAULT_DIRECTORY
        return
    with tempfile.TemporaryDirectory(prefix="study-ingest-demo-") as name:
        home = Path(name)
        home.chmod(TRAVERSABLE)
        yield home


def _port(port: int | None, *, once: bool) -> int:
    if port is None:
        return 0 if once else USUAL_PORT
    return port


def _tell(everything: Running, token: str, console: Console) -> None:
    with _stage(everything.environment, token, console) as stage:
        try:
            tell(stage)
        except BrokenPromiseError:
            everything.processes.check()  # a process that has ended is the better reason
            raise


@contextmanager
def _stage(environment: Mapping[str, str], token: str, console: Console) -> Iterator[Stage]:
    settings = StoreSettings(database_url=environment["DATABASE_URL"])
    engine = make_engine(settings)
    try:
        study_token = environment["STUDY_API_TOKEN"].split(",")[0].strip()
        with Sender(environment["API_URL"], token) as sender:
            yield Stage(sender, study_token, engine, settings.study_time_zone, console)
    finally:
        engine.dispose()
