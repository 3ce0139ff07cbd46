"""`python -m benchmarks`: measure ratios on this machine, every side in the same run."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import accept, cpu, designs, drain, frozen, growth, late, memory, report
from benchmarks.figure import Figure, rows
from benchmarks.ground import ground

Measure = Callable[..., list[Figure]]
MEASURES: Mapping[str, tuple[Measure, str]] = {
    "accept": (accept.measure, "Uploads accepted, beside a bare route and beside repeats (P1, P6)."),
    "drain": (drain.measure, "Uploads worked off, beside the same statements by pgbench (P2)."),
    "cpu": (cpu.measure, "CPU of a replay, beside one that is written by hand (P3)."),
    "growth": (growth.measure, "Replays with many attempts in the table, beside few (P5)."),
    "late": (late.measure, "Folds of whole histories, beside bare fsrs (P9)."),
    "memory": (memory.measure, "Memory with a million uploads waiting, beside none (P7)."),
    "peers": (designs.measure, "Other designs at the same work (P4, P8)."),
    "frozen": (frozen.measure, "How long senders wait while stores hang."),
}


@click.group()
def main() -> None:
    """Measure on servers and processes of its own; ratios are what counts.

    The client shares the machine's processors with what it measures, on every side alike.
    """


def _run(names: list[str], *, quick: bool, write: Path | None) -> None:
    with ground() as place:
        for name in names:
            measure, _ = MEASURES[name]
            figures = measure(place, quick=quick)
            _show(figures)
            if write:
                report.write(write, name, figures)


def _show(figures: list[Figure]) -> None:
    table = Table(*report.HEADINGS)
    for row in rows(figures):
        table.add_row(*row)
    Console(stderr=True).print(table)
    for figure in figures:
        click.echo(figure.json)


def _add(name: str, names: list[str], explained: str) -> None:
    command = click.command(name, help=f"{explained} One JSON line for each figure; tables on stderr.")
    quick = click.option("--quick", is_flag=True, help="A minute at most for each: to see that it runs.")
    write = click.option(
        "--write",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Put tables and plots into this document, docs/performance.md.",
    )
    main.add_command(command(quick(write(partial(_run, names)))))


for _name, (_, _explained) in MEASURES.items():
    _add(_name, [_name], _explained)
_add("all", list(MEASURES), "All of them, one after the other.")

if __name__ == "__main__":
    main()
