"""Compare two checkouts of the project: the same benchmark in both, in turn, in one run."""

import json
import subprocess
from pathlib import Path

import click

from benchmarks import report
from benchmarks.figures import ratio

HERE = Path(__file__).resolve().parents[1]


def values(checkout: Path, name: str, *, quick: bool) -> dict[str, float]:
    """Run a benchmark of a checkout in its own virtual environment; return the median of each figure."""
    command = [str(checkout / ".venv/bin/python"), "-m", "benchmarks", name, *(["--quick"] if quick else [])]
    output = subprocess.run(  # noqa: S603  # a checkout that the caller names; no shell
        command, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return {figure["figure"]: figure["value"] for figure in map(json.loads, output.splitlines())}


@click.command()
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.argument("names", nargs=-1, required=True)
@click.option("--rounds", default=3, show_default=True, help="Runs of each benchmark in each checkout.")
@click.option("--quick", is_flag=True, help="Run the quick form of the benchmarks.")
def compare(checkout: Path, names: tuple[str, ...], *, rounds: int, quick: bool) -> None:
    """Print the figures of this checkout ÷ those of another CHECKOUT; set it up there by `./dev --version`.

    NAMES are benchmarks, such as accept, drain and cpu. Figures that only one checkout has are left out.
    """
    for name in names:
        pairs = [
            (values(HERE, name, quick=quick), values(checkout, name, quick=quick)) for _ in range(rounds)
        ]
        figures = [
            ratio(
                figure, "this ÷ other", [mine[figure] for mine, _ in pairs], [its[figure] for _, its in pairs]
            )
            for figure in pairs[0][0]
            if figure in pairs[0][1]
        ]
        report.show(figures, name)
