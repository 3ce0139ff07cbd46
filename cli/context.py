"""Find the stores that a command works on: those of the environment, else those of a running `up`."""

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from cli.client import Sender
from cli.local.places import is_locked
from shared.config import StoreSettings, load_settings
from shared.db import make_engine
from shared.errors import StudyIngestError

DEFAULT_DIRECTORY = Path(".data")
ENV = "env"
SERVERS = "servers"
TRAVERSABLE = 0o711  # as root the servers run as another user, who passes through to his own directory


class NothingRunningError(StudyIngestError):
    """No `up` runs with the data directory."""


def read_env(data_dir: Path) -> dict[str, str]:
    """Return the environment of the `up` that runs with a data directory."""
    try:
        if is_locked(data_dir / SERVERS):
            return last_env(data_dir)
    except PermissionError as error:
        raise NothingRunningError(f"{error.filename} belongs to another user") from None
    raise NothingRunningError(
        f"nothing runs with the data directory {data_dir}; "
        f"start it: study-ingest up --data-dir {data_dir}, or set DATABASE_URL"
    )


def last_env(data_dir: Path) -> dict[str, str]:
    """Return what the last `up` wrote, running or not; nothing before the first."""
    try:
        lines = (data_dir / ENV).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def write_env(data_dir: Path, environment: Mapping[str, str]) -> None:
    """Write the file in one step, for its owner's eyes only: `KEY=VALUE` lines without quoting."""
    handle, unfinished = tempfile.mkstemp(dir=data_dir, prefix=ENV)  # mode 0600 from the start
    with os.fdopen(handle, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in environment.items())
    Path(unfinished).replace(data_dir / ENV)


def make_data_dir(data_dir: Path) -> Path:
    """Make the directory where it is missing; return its absolute path."""
    data_dir.mkdir(TRAVERSABLE, parents=True, exist_ok=True)
    return data_dir.resolve()


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FORM = re.compile(r"(\d{1,6})([smhd])")  # more digits than any upload is old


# A century: counted back from now, it is still in the calendar.
LONGEST = timedelta(days=36_525)


class Duration(click.ParamType[timedelta]):
    """Read `90s`, `10m`, `6h` or `2d`."""

    name = "duration"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Turn what was typed into a span."""
        if isinstance(value, timedelta):
            return value
        if not (read := _FORM.fullmatch(value)):
            self.fail(f"{value!r} is no span of time such as 90s, 10m, 6h or 2d", param, ctx)
        span = timedelta(**{_UNITS[read[2]]: int(read[1])})
        if span > LONGEST:
            self.fail(f"{value!r} is longer than {LONGEST.days}d", param, ctx)
        return span


BIGINT = click.IntRange(0, 2**63 - 1)
COUNT = click.IntRange(1, 2**63 - 1)


LONGEST_TEXT = 500


class StorableText(click.ParamType[str]):
    """Read a text of a line or so, without NUL or bytes that are no text in the terminal's encoding.

    An empty one is a mistake: a variable of somebody's script that is unset, and every row holds it.
    """

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return what was typed."""
        if "\0" in value or not _is_unicode(value):
            self.fail("must be UTF-8 text without NUL", param, ctx)
        if not 0 < len(value.strip()) <= LONGEST_TEXT:
            self.fail(f"must have 1 to {LONGEST_TEXT} characters", param, ctx)
        return value.strip()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


WIDE = 1000  # a pipe has no width: nothing is folded there
LONG = 500  # rows; to draw more as a table takes longer than to find them


def print_json(value: Any) -> None:
    """Print one JSON line."""
    click.echo(json.dumps(value, default=_plain))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; what does not fit is folded, never cut. A long one is plain columns."""
    cells = [[cell(value) for value in row] for row in rows]
    if len(cells) > LONG:
        _print_columns([[Text(heading) for heading in headings], *cells])
    else:
        _draw(headings, cells)


def _print_columns(rows: list[list[Text]]) -> None:
    widths = [max(len(text) for text in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(
            "  ".join(text.plain.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )


def _draw(headings: Sequence[str], rows: list[list[Text]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def cell(value: Any) -> Text:
    """Write a value as it may stand in a terminal: what a viewer sent must not command it."""
    if isinstance(value, datetime):
        value = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    shown = "" if value is None else str(value)
    return Text("".join(each if each.isprintable() else "·" for each in shown))


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="STUDY_INGEST_DATA_DIR",
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Data directory of the `up` to work with, where the environment names no stores.",
)


def adopt(data_dir: Path) -> None:
    """Complete the environment with that of a running `up`, unless it names its own database."""
    if not os.environ.get("DATABASE_URL"):
        for name, value in read_env(data_dir).items():
            os.environ.setdefault(name, value)


@dataclass(frozen=True, slots=True)
class Store:
    """The database of a command, and the time zone of learners who have none of their own."""

    engine: Engine
    default_zone: str


def with_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its `store`."""

    @data_dir_option
    @wraps(command)
    def run(*args: Any, data_dir: Path, **options: Any) -> Any:
        adopt(data_dir)
        settings = load_settings(StoreSettings)
        engine = make_engine(settings, scanning=True)
        try:
            return command(*args, store=Store(engine, settings.study_time_zone), **options)
        finally:
            engine.dispose()

    return run


def with_sender(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a `sender` to the server that it names, or to that of a running `up`."""

    @click.option("--url", envvar="API_URL", help="The server; by default that of a running `up`.")
    @click.option("--token", envvar="VIEWER_SYNC_TOKEN", help="A viewer's token; by default likewise.")
    @data_dir_option
    @wraps(command)
    def run(*args: Any, url: str | None, token: str | None, data_dir: Path, **options: Any) -> Any:
        running = {} if url and token else read_env(data_dir)
        token = (token or running["VIEWER_SYNC_TOKEN"]).split(",")[0].strip()
        with Sender(url or running["API_URL"], token) as sender:
            return command(*args, sender=sender, **options)

    return run
