"""Figures: medians of what was measured in several rounds, and ratios of two sides."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of several rounds with its spread; `unit` is empty for a ratio."""

    name: str
    meaning: str
    rounds: tuple[float, ...]
    unit: str = ""
    target: str = ""

    @property
    def value(self) -> float:
        """Return the median."""
        return median(self.rounds)

    @property
    def json(self) -> str:
        """Describe the figure in one line."""
        low, high = min(self.rounds), max(self.rounds)
        numbers = {"value": _short(self.value), "min": _short(low), "max": _short(high)}
        return json.dumps({"figure": self.name} | numbers | {"rounds": len(self.rounds)})


def ratio(name: str, meaning: str, ours: Sequence[float], other: Sequence[float], target: str = "") -> Figure:
    """Divide round by round: any other load of the machine slows both sides alike."""
    rounds = tuple(mine / theirs for mine, theirs in zip(ours, other, strict=True))
    return Figure(name, meaning, rounds, target=target)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value for which at least a `share` (0 to 1) of all values are not greater."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def rows(figures: Sequence[Figure]) -> Iterator[tuple[str, ...]]:
    """Return the cells of a table, with one row for each figure."""
    for each in figures:
        low, high = shown(min(each.rounds)), shown(max(each.rounds))
        spread = f"{low} to {high}" if len(each.rounds) > 1 else ""
        value = f"{shown(each.value)} {each.unit}".strip()
        yield each.name, each.meaning, value, spread, str(len(each.rounds)), each.target


def shown(value: float) -> str:
    """Write a number with three significant digits, or as an integer from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits


def _short(value: float) -> float:
    return float(f"{value:.4g}")
