"""Write figures into docs/performance.md: a table and a plot between the comments that name a measure."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, rows, shown

HEADINGS = ("figure", "what", "median", "min to max", "rounds", "target")
BAR_INCHES, FRAME_INCHES, WIDTH_INCHES = 0.32, 0.7, 8


class NoSectionError(Exception):
    """The document has no section for a measure."""


def show(figures: Sequence[Figure], title: str | None = None) -> None:
    """Show a table of figures on stderr, and print a JSON line for each."""
    grid = Table(*HEADINGS, title=title)
    for row in rows(figures):
        grid.add_row(*row)
    Console(stderr=True).print(grid)
    for figure in figures:
        click.echo(figure.json)


def write(document: Path, measure: str, figures: Sequence[Figure]) -> None:
    """Replace the section `<!-- measure -->` … `<!-- /measure -->`, and its plot beside the document."""
    text = document.read_text()
    section = re.compile(rf"(<!-- {measure} -->\n).*(<!-- /{measure} -->)", re.DOTALL)
    if not section.search(text):
        raise NoSectionError(
            f"{document} has no section <!-- {measure} -->: add it, and <!-- /{measure} --> after it"
        )
    picture = document.with_suffix("") / f"{measure}.svg"
    picture.parent.mkdir(exist_ok=True)
    plot(picture, figures)
    machine = f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    image = f"![{measure}]({picture.relative_to(document.parent)})"
    content = f"{datetime.now(UTC):%Y-%m-%d}, {machine}:\n\n{table(figures)}\n\n{image}\n"
    document.write_text(section.sub(lambda found: found[1] + content + found[2], text))


def table(figures: Sequence[Figure]) -> str:
    """Write figures as a Markdown table."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows(figures)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(path: Path, figures: Sequence[Figure]) -> None:
    """Draw a bar for each median, with a line from the least to the most; one chart for each unit."""
    # Imported here: only `--write` needs matplotlib, which is in the dependency group `benchmarks`.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    units = list(dict.fromkeys(figure.unit for figure in figures))
    groups = [[figure for figure in figures if figure.unit == unit] for unit in units]
    heights = [FRAME_INCHES + BAR_INCHES * len(group) for group in groups]
    # Text stays text: as outlines it would make the files ten times as large.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "benchmarks"}):
        canvas = Canvas(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
        charts = canvas.subplots(len(groups), squeeze=False, height_ratios=heights)
        for chart, group in zip(charts[:, 0], groups, strict=True):
            medians = [figure.value for figure in group]
            below = [figure.value - min(figure.rounds) for figure in group]
            above = [max(figure.rounds) - figure.value for figure in group]
            names = [figure.name for figure in group]
            bars = chart.barh(names, medians, xerr=[below, above], capsize=3, color="tab:blue")
            chart.bar_label(bars, [shown(median) for median in medians], padding=3)
            chart.invert_yaxis()
            chart.margins(x=0.15)
            chart.set_xlabel(group[0].unit or "ratio")
            if not group[0].unit:
                chart.axvline(1, color="tab:gray", linestyle=":")
        canvas.savefig(path, format="svg", metadata={"Date": None})
