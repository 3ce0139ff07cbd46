"""One picture for each measure: bars of the medians, and lines from the least to the most."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from benchmarks.figure import Figure, shown

BAR_INCHES, FRAME_INCHES, WIDTH_INCHES = 0.32, 0.7, 8


def plot(path: Path, figures: Sequence[Figure]) -> None:
    """Draw figures, those of one unit beneath each other, into an SVG file."""
    units = list(dict.fromkeys(figure.unit for figure in figures))
    groups = [[figure for figure in figures if figure.unit == unit] for unit in units]
    heights = [FRAME_INCHES + BAR_INCHES * len(group) for group in groups]
    # Text stays text: as outlines it would make the files ten times as large.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "benchmarks"}):
        canvas = Canvas(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
        parts = canvas.subplots(len(groups), squeeze=False, height_ratios=heights)
        for part, group in zip(parts[:, 0], groups, strict=True):
            _bars(part, group)
        canvas.savefig(path, format="svg", metadata={"Date": None})


def _bars(part: mpl.axes.Axes, group: Sequence[Figure]) -> None:
    medians = [figure.value for figure in group]
    spread = [
        [figure.value - min(figure.rounds) for figure in group],
        [max(figure.rounds) - figure.value for figure in group],
    ]
    bars = part.barh([figure.name for figure in group], medians, xerr=spread, capsize=3, color="tab:blue")
    part.bar_label(bars, [shown(median) for median in medians], padding=3)
    part.invert_yaxis()
    part.margins(x=0.15)
    part.set_xlabel(group[0].unit or "ratio")
    if not group[0].unit:
        part.axvline(1, color="tab:gray", linestyle=":")
