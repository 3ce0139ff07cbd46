"""What operators read: tables for people, one JSON line a row for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
