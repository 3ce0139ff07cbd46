"""`upload`: send many uploads from a file."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from cli.sender import Answer, Sender, Sent, UnreachableServerError
from cli.stores import with_sender

# Long enough for any backlog that one file makes, short enough not to hang for ever.
WAIT_S = 600.0


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True)
@click.option("--wait", is_flag=True, help="Wait until every upload is final.")
@with_sender
def upload(file: Path, *, sender: Sender, concurrency: int, wait: bool) -> None:
    """Send the uploads of an NDJSON FILE, one a line; safe to run again. Exit 1 if any failed."""
    lines = _lines(file)
    with ThreadPoolExecutor(concurrency) as threads:
        sent = list(_shown(threads.map(lambda line: _send(sender, line), lines), len(lines), "sending"))
        if wait:
            deadline = time.monotonic() + WAIT_S
            waited = threads.map(lambda line, each: _wait(sender, line, each, deadline), lines, sent)
            sent = list(_shown(waited, len(lines), "waiting"))
    _report(sent)


def _lines(file: Path) -> list[bytes]:
    """Split at line feeds alone: JSON text may hold whatever else ends a line."""
    return [line for line in file.read_bytes().split(b"\n") if line.strip()]


def _send(sender: Sender, line: bytes) -> Sent:
    try:
        return sender.send(line.decode())
    except UnicodeDecodeError:
        return Sent(Answer.FAILED, "not UTF-8")
    except UnreachableServerError as error:
        return Sent(Answer.FAILED, str(error))


def _wait(sender: Sender, line: bytes, sent: Sent, deadline: float) -> Sent:
    try:
        return sender.wait(line.decode(), deadline) if sent.answer is Answer.RECEIVED else sent
    except UnreachableServerError as error:
        return Sent(Answer.FAILED, str(error))


def _shown(answers: Iterable[Sent], total: int, what: str) -> Iterator[Sent]:
    """Draw a progress bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    return iter(track(answers, what, total=total, console=console, disable=not console.is_terminal))


def _report(sent: list[Sent]) -> None:
    for line, each in enumerate(sent, start=1):
        if each.why:
            click.echo(f"line {line}: {each.answer}: {each.why}", err=True)
    counts = Counter(each.answer for each in sent)
    click.echo(", ".join(f"{counts[answer]} {answer}" for answer in Answer))
    if counts[Answer.FAILED]:
        sys.exit(1)
