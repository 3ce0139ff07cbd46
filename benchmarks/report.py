"""What was measured, written into docs/performance.md: a table and a plot where its marks are."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figure import Figure, rows

HEADINGS = ("figure", "what", "median", "min to max", "rounds", "asked")


class MarksError(Exception):
    """The document has no place for what was measured."""


def write(document: Path, measure: str, figures: Sequence[Figure]) -> None:
    """Put a measure's figures between its marks, and its plot into the folder beside the document."""
    # Here, as matplotlib is of a group of its own, which only those need who write.
    from benchmarks.plot import plot  # noqa: PLC0415

    text = document.read_text()
    marks = re.compile(rf"(<!-- {measure} -->\n).*(<!-- /{measure} -->)", re.DOTALL)
    if not marks.search(text):
        raise MarksError(f"{document} has no marks for {measure}")
    picture = document.with_suffix("") / f"{measure}.svg"
    picture.parent.mkdir(exist_ok=True)
    plot(picture, figures)
    shown = f"![{measure}]({picture.relative_to(document.parent)})"
    section = f"{_circumstances()}\n\n{table(figures)}\n\n{shown}\n"
    document.write_text(marks.sub(lambda found: found[1] + section + found[2], text))


def table(figures: Sequence[Figure]) -> str:
    """Word figures as a Markdown table."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows(figures)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _circumstances() -> str:
    python = platform.python_version()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors, {platform.machine()}, Python {python}:"
    )
