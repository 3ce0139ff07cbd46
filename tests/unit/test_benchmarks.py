"""The benchmarks' own arithmetic, and that their commands are there."""

import json
import subprocess
import sys

from benchmarks.figures import Figure, percentile, ratio, rows
from benchmarks.pgbench import RANGE, RECORDED_FROM, renumbered
from benchmarks.report import table


def test_help_lists_every_command() -> None:
    command = [sys.executable, "-m", "benchmarks", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    measures = (
        "accept",
        "tokens",
        "drain",
        "cpu",
        "growth",
        "memory",
        "fold",
        "peers",
        "frozen",
        "sync",
        "idle",
    )
    for name in (*measures, "all", "compare", "recall", "exam"):
        assert f"\n  {name} " in shown


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    figure = ratio("P0", "ours ÷ other", [10, 9, 400], [10, 3, 100])
    line = {"figure": "P0", "value": 3.0, "min": 1.0, "max": 4.0, "rounds": 3}
    assert json.loads(figure.json) == line


def test_a_percentile_is_a_measured_value() -> None:
    values = [float(n) for n in range(200, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [100, 198, 200]
    assert percentile([7.0], 0.99) == 7.0


def test_a_table_has_a_line_for_each_figure() -> None:
    figures = [Figure("a", "of a", (1.0, 1234.6, 2.0), "ms", "< 5"), Figure("b", "of b", (0.12345,))]
    assert list(rows(figures)) == [
        ("a", "of a", "2 ms", "1 to 1,235", "3", "< 5"),
        ("b", "of b", "0.123", "", "1", ""),
    ]
    assert table(figures).count("\n") == 3


def test_recorded_session_ids_become_those_of_the_client() -> None:
    recorded = f"{{{RECORDED_FROM + 15},{RECORDED_FROM + 17},20}}"
    assert renumbered(recorded, index=5, number=2, client=1) == f"{{{11 * RANGE + 7},{11 * RANGE + 9},20}}"
    assert renumbered(None, index=5, number=2, client=1) is None
