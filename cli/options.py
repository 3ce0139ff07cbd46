"""The types of commands' options, and the reading of files that commands are given."""

import codecs
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST_SPAN = timedelta(days=36_525)  # a century: Python can express the date that is this long ago
LONGEST_TEXT = 500
FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_GZIP = b"\x1f\x8b"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # PowerShell writes UTF-16


def read_file(file: Path) -> bytes:
    """Return the bytes of a file (`-`: standard input), without a byte order mark.

    A file compressed by gzip is decompressed; UTF-16 with a byte order mark is converted to UTF-8.
    """
    return b"".join(read_lines(file))


def read_lines(file: Path) -> Iterator[bytes]:
    """Yield the lines of a file one by one, converted as by `read_file`; a pipe is read as a whole first."""
    try:
        with _open(file) as opened:
            content: Any = opened
            if opened.peek(2).startswith(_GZIP):
                content = gzip.GzipFile(fileobj=opened)
            if content.peek(2).startswith(_UTF16):
                # Here, too, only a line feed ends a line.
                with io.TextIOWrapper(content, "utf-16", newline="\n") as text:
                    yield from (line.encode() for line in text)
            else:
                yield content.readline().removeprefix(codecs.BOM_UTF8)
                yield from content
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from None


def _open(file: Path) -> io.BufferedReader:
    if file.is_file():
        return file.open("rb")
    # Read a pipe as a whole: its first read may return one byte, and only two bytes show the form.
    whole = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    return io.BufferedReader(io.BytesIO(whole))


BIGINT = click.IntRange(0, 2**63 - 1)
COUNT = click.IntRange(1, 2**63 - 1)


# Two types of options: click shows the texts of their ValueErrors, and the name of `duration` in the help.
def duration(value: str) -> timedelta:
    """Read `90s`, `10m`, `6h` or `2d`."""
    if not (parts := re.fullmatch(r"(\d{1,6})([smhd])", value)):
        raise ValueError(f"{value!r} is not a duration such as 90s, 10m, 6h or 2d")
    span = timedelta(**{UNITS[parts[2]]: int(parts[1])})
    if span > LONGEST_SPAN:
        raise ValueError(f"{value!r} is longer than {LONGEST_SPAN.days}d")
    return span


def phrase(value: str) -> str:
    """Read a short text that Postgres can store: UTF-8 without NUL.

    An empty text, as from a script with an unset variable, is refused: `--error` would match every upload
    that has an error.
    """
    if "\0" in value or any("\ud800" <= each <= "\udfff" for each in value):
        raise ValueError("must be UTF-8 text without NUL")
    if not 0 < len(value.strip()) <= LONGEST_TEXT:
        raise ValueError(f"must have 1 to {LONGEST_TEXT} characters")
    return value.strip()
