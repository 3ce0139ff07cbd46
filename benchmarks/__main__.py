"""`python -m benchmarks`: measure ratios on this machine, both sides of a ratio in the same run."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click

from benchmarks import (
    accept,
    cpu,
    designs,
    drain,
    exam,
    fold,
    frozen,
    growth,
    idle,
    memory,
    recall,
    report,
    sync,
    tokens,
    wal,
)
from benchmarks.compare import compare
from benchmarks.figures import Figure
from benchmarks.servers import start_stores

Measure = Callable[..., list[Figure]]  # (stores, *, quick)
MEASURES: Mapping[str, tuple[Measure, str]] = {
    "accept": (accept.measure, "Uploads accepted, compared with a bare route and with repeats (P1, P6)."),
    "tokens": (
        tokens.measure,
        "Uploads accepted with learners' tokens, compared with the shared token (P10, P11).",
    ),
    "drain": (
        drain.measure,
        "Uploads replayed by workers, compared with the same statements by pgbench (P2).",
    ),
    "cpu": (cpu.measure, "CPU of a replay, compared with a replay that is written by hand (P3)."),
    "wal": (wal.measure, "Write-ahead log and CPU of Postgres for an arrival and a replay."),
    "growth": (growth.measure, "Replays with many attempts in the table, compared with few (P5)."),
    "memory": (memory.measure, "Memory while a million uploads wait, compared with none (P7)."),
    "fold": (fold.measure, "Folds of whole histories, compared with bare fsrs (P9)."),
    "peers": (designs.measure, "Other designs that do the same work (P4, P8)."),
    "frozen": (frozen.measure, "How long senders wait while stores hang."),
    "sync": (sync.measure, "A sync of 500,000 questions, and how much it slows other requests."),
    "idle": (idle.measure, "Memory and CPU of `study-ingest up` without uploads."),
}
quick_option = click.option(
    "--quick", is_flag=True, help="Take a minute at most for each, only to see that it runs."
)
write_option = click.option(
    "--write",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Write tables and plots into this document, such as docs/performance.md.",
)


@click.group()
def main() -> None:
    """Start stores and processes, and measure them; between machines, compare only the ratios.

    The client uses the same processors as the servers that it measures, on both sides alike.
    """


def run(names: list[str], *, quick: bool, write: Path | None) -> None:
    """Run measures; show a table of each on stderr, and print a JSON line for each figure."""
    with start_stores() as stores:
        for name in names:
            measure, _ = MEASURES[name]
            figures = measure(stores, quick=quick)
            report.show(figures)
            if write:
                report.write(write, name, figures)


def add_measure(name: str, names: list[str], description: str) -> None:
    """Add a command that measures `names` one after the other."""
    command = click.command(
        name, help=f"{description} Print one JSON line for each figure, and tables on stderr."
    )
    main.add_command(command(quick_option(write_option(partial(run, names)))))


for _name, (_, _description) in MEASURES.items():
    add_measure(_name, [_name], _description)
add_measure("all", list(MEASURES), "All measures, one after the other.")
main.add_command(compare)
main.add_command(recall.main, "recall")
main.add_command(exam.main, "exam")

if __name__ == "__main__":
    main()
