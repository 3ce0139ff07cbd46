"""`python -m benchmarks`: measure ratios on this machine, every side in the same run."""

from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from benchmarks import accept, cpu, designs, drain, frozen, growth, late, memory
from benchmarks.figure import Figure, rows
from benchmarks.ground import ground

Measure = Callable[..., list[Figure]]
MEASURES: dict[str, Measure] = {
    "accept": accept.measure,
    "drain": drain.measure,
    "cpu": cpu.measure,
    "growth": growth.measure,
    "late": late.measure,
    "frozen": frozen.measure,
    "memory": memory.measure,
    "peers": designs.measure,
}


@click.command()
@click.argument("what", type=click.Choice([*MEASURES, "all"]))
@click.option("--quick", is_flag=True, help="Under a minute each: to see that it runs.")
def main(what: str, *, quick: bool) -> None:
    """Measure WHAT, show it as a table, and print one JSON line for each figure."""
    with ground() as place:
        figures = [
            figure
            for name in MEASURES
            if what in {name, "all"}
            for figure in MEASURES[name](place, quick=quick)
        ]
    _show(figures)


def _show(figures: list[Figure]) -> None:
    table = Table("figure", "what", "median", "spread", "rounds", "target")
    for row in rows(figures):
        table.add_row(*row)
    Console().print(table)
    for figure in figures:
        click.echo(figure.json)


if __name__ == "__main__":
    main()
