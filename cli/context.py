"""What commands share: the database, readable errors, and the output of tables and JSON."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import wraps
from getpass import getuser
from pathlib import Path
from typing import Any

import click
from psycopg import OperationalError
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled, UndefinedColumn, UndefinedTable
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from cli.local.places import data_dir_option, read_env_as_owner
from shared import data_settings
from shared.config import StoreSettings, load_settings
from shared.db import make_engine
from shared.errors import ConfigurationError
from shared.hosts import TLS_REMEDY, is_about_tls

COUNTS = {
    "correct_count": "correct",
    "wrong_count": "wrong",
    "unsure_count": "unsure",
    "newly_correct_count": "newly correct",
    "recovered_count": "recovered",
    "relapsed_count": "relapsed",
    "chronic_remaining_count": "chronic",
}
# Parameters that may follow `&` in a Postgres URL; no environment has variables with these names.
URL_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs", "connect_timeout")
GAP = 3  # between two columns
WHOLE = 40  # characters: a word up to this length, such as a uuid, is never broken
PIPE_WIDTH = 1000  # a pipe has no width: lines up to this length are not wrapped there
MAX_DRAWN = 500  # rows: drawing more as a table takes longer than finding them


@dataclass(frozen=True, slots=True)
class Store:
    """The database of a command, and the time zone of learners who have none of their own."""

    engine: Engine
    default_zone: str


def with_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a command its `store`: the database in DATABASE_URL, else the database of a running `up`."""

    @data_dir_option
    @wraps(command)
    def run(*args: Any, data_dir: Path, **options: Any) -> Any:
        complete_environment(data_dir)
        settings = load_settings(StoreSettings)
        engine = make_engine(settings, scanning=True)
        event.listen(engine, "begin", _name_operator)
        try:
            with readable_errors():
                with engine.connect() as connection:
                    zone = data_settings.compare(connection, settings)
                return command(*args, store=Store(engine, zone), **options)
        finally:
            engine.dispose()

    return run


def _name_operator(connection: Connection) -> None:
    """Tell Postgres who runs this command: events that the transaction adds to uploads name this user."""
    try:
        user = os.environ.get("SUDO_USER") or getuser()
    except (KeyError, OSError):  # as in a container whose account has no name
        user = f"uid {os.getuid()}"
    # `act_as` would begin a transaction, but this function runs while a transaction begins.
    cursor = connection.connection.cursor()
    cursor.execute("SELECT set_config('study_ingest.actor', %s, true)", [f"{user} (command)"])


def complete_environment(data_dir: Path) -> None:
    """Add the settings of a running `up` to the environment, unless DATABASE_URL is set.

    Variables that are set stay. Raises NothingRunningError if DATABASE_URL is unset and no `up` runs, and
    ConfigurationError if a shell has cut off DATABASE_URL at `&`.
    """
    url = os.environ.get("DATABASE_URL", "")
    if cut := [name for name in URL_OPTIONS if name in os.environ and f"{name}=" not in url]:
        raise ConfigurationError(
            "a shell that read the file of settings cut DATABASE_URL off at `&`, and set"
            f" {cut[0]} as a variable of its own: use --env-file FILE, or quote the value"
        )
    if not os.environ.get("DATABASE_URL"):
        for name, value in read_env_as_owner(data_dir).items():
            os.environ.setdefault(name, value)
        os.environ.pop("MIGRATE_DATABASE_URL", None)  # it may lead to another database than that of `up`


@contextmanager
def readable_errors() -> Iterator[None]:
    """Convert errors of the database driver to a ClickException of one line."""
    try:
        yield
    except DBAPIError as error:
        line = str(error.orig).partition("\n")[0]
        match error.orig:
            case LockNotAvailable() | QueryCanceled() | DeadlockDetected():
                line = (
                    "another process holds a lock that this command needs, or a statement took longer than"
                    f" TASK_TIME_LIMIT ({line}); try again"
                )
            case UndefinedTable() | UndefinedColumn():
                line = f"{line}; is the database migrated? (study-ingest migrate)"
            case OperationalError():
                remedy = f"; {TLS_REMEDY}" if is_about_tls(error) else ""
                line = f"Postgres cannot be reached, or refuses: {line}{remedy}"
        raise click.ClickException(line) from None


def print_json(value: Any) -> None:
    """Print one JSON line."""
    click.echo(
        json.dumps(value, default=lambda each: each.isoformat() if isinstance(each, date) else str(each))
    )


def print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; long texts are wrapped between words, and the terminal breaks lines that stay too long.

    A table of more than MAX_DRAWN rows is printed as plain columns.
    """
    rows = list(rows)
    cells = [[cell(value) for value in row] for row in rows]
    if len(cells) > MAX_DRAWN:
        lines = [[Text(heading) for heading in headings], *cells]
        widths = [max(len(text) for text in column) for column in zip(*lines, strict=True)]
        for line in lines:
            padded = [text.plain.ljust(width) for text, width in zip(line, widths, strict=True)]
            click.echo("  ".join(padded).rstrip())
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    room = (Console().width if sys.stdout.isatty() else PIPE_WIDTH) - GAP * (len(headings) - 1)
    widths, least = _widths(headings, rows)
    for column in sorted(range(len(headings)), key=lambda each: least[each] - widths[each]):
        widths[column] -= min(widths[column] - least[column], max(0, sum(widths) - room))
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(heading, overflow="fold", width=width)
    for row in cells:
        table.add_row(*row)
    Console(width=sum(widths) + GAP * len(headings)).print(table)


def _widths(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[int], list[int]]:
    """Return (natural widths, smallest widths) of columns: times, and words up to WHOLE, are not wrapped."""
    wide, narrow = [], []
    for heading, *column in zip(headings, *rows, strict=True):
        shown = [heading, *(cell(value).plain for value in column)]
        whole = [heading, *(cell(value).plain for value in column if isinstance(value, datetime))]
        words = [word for text in shown for word in text.split(" ")]
        wide.append(max(map(len, shown)))
        narrow.append(min(max(map(len, [*whole, *words])), WHOLE))
    return wide, narrow


def cell(value: Any) -> Text:
    """Format a value for a terminal, without control characters that a viewer may have sent."""
    if isinstance(value, datetime):
        value = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    shown = "" if value is None else str(value)
    return Text("".join(each if each.isprintable() else "·" for each in shown))
