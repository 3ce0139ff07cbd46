"""What a run has shown: in figures, fault by fault, and in one line."""

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.chaos.count import Count
from tests.chaos.fault import Fault
from tests.chaos.load import Accepted

COLUMNS = ("fault", "times", "uploads", "lost", "double", "not promised", "p99 during")
AT_THE_END = "(after the last)"


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault that ran, and when the system had recovered from it, on the monotonic clock."""

    fault: str
    end: float


@dataclass(frozen=True, slots=True)
class Result:
    """One run; `wiped`: uploads that were deleted from Redis while Postgres did not have them."""

    seed: int
    kills: int
    accepted: Mapping[str, Accepted]
    injections: list[Injection]
    count: Count
    wiped: set[str]

    @property
    def figures(self) -> dict[str, int]:
        """Return the whole run in figures."""
        return {
            "seed": self.seed,
            "kills": self.kills,
            "accepted": len(self.accepted),
            "lost": len(self.count.lost - self.wiped),
            "double": len(self.count.double),
            "verify_differences": self.count.verify_differences,
            "reader_differences": self.count.reader_differences,
        }

    @property
    def is_clean(self) -> bool:
        """Tell whether no accepted upload was lost, doubled or miscounted."""
        wrong = ("lost", "double", "verify_differences", "reader_differences")
        return not any(self.figures[name] for name in wrong)

    def show(self, faults: Iterable[Fault]) -> None:
        """Print a row for each fault, then the figures as one line of JSON."""
        table = Table(*COLUMNS, box=None, pad_edge=False)
        met = self._by_fault()
        for fault in faults:
            if reason := fault.why_not():
                table.add_row(fault.name, f"not run: {reason}")
            else:
                table.add_row(fault.name, *self._row(fault.name, met.pop(fault.name, [])))
        for name, uuids in met.items():
            table.add_row(name, *self._row(name, uuids))
        Console(width=120).print(table)
        Console(soft_wrap=True, highlight=False).print(json.dumps(self.figures), markup=False)

    def _by_fault(self) -> dict[str, list[str]]:
        """Group uploads by the fault that ran when they were accepted, or was the next to run."""
        ends = [injection.end for injection in self.injections]
        met: dict[str, list[str]] = {}
        for uuid, accepted in self.accepted.items():
            at = bisect_left(ends, accepted.at)
            met.setdefault(self.injections[at].fault if at < len(ends) else AT_THE_END, []).append(uuid)
        return met

    def _row(self, name: str, uuids: list[str]) -> list[str]:
        times = sum(injection.fault == name for injection in self.injections)
        lost, double = self.count.lost & set(uuids), self.count.double & set(uuids)
        counts = (times, len(uuids), len(lost - self.wiped), len(double), len(lost & self.wiped))
        return [*map(str, counts), _p99([self.accepted[uuid].took for uuid in uuids])]


def _p99(seconds: list[float]) -> str:
    return f"{sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1]:.2f} s" if seconds else ""
