"""P4: how long a sender waits, beside the synchronous design."""

from collections.abc import Sequence

from benchmarks.accept import answered, latency
from benchmarks.client import Answer, Load, throughput
from benchmarks.design import CONNECTIONS, OURS, SYNCHRONOUS, WARMING, Design, installed
from benchmarks.figure import Figure, percentile, ratio
from benchmarks.ground import Ground

# Most of what a design can take: there its waits tell, and still it does not fall behind for ever.
SHARE = 0.8
# So many that a slow answer delays no other upload.
MANY_CONNECTIONS = 64


def p4(
    ground: Ground, uploads: int, ours: Sequence[list[Answer]], synchronous: Sequence[list[Answer]]
) -> list[Figure]:
    """Compare waits at the same load, and at the most that each design can take."""
    rates = [SHARE * throughput(answers) for answers in synchronous]
    paced, theirs = [
        [_paced(ground, design, uploads, rate) for rate in rates] for design in (OURS, SYNCHRONOUS)
    ]
    at = f"at {SHARE:.0%} of the uploads a second that the synchronous design takes"
    busy = f"each as busy as {CONNECTIONS} connections make it"
    what = "accept p99 ÷ that of the synchronous design"
    return [
        ratio("P4", f"{what}, {at}", _p99(paced), _p99(theirs), "≤ 0.2"),
        ratio("P4/busy", f"{what}, {busy}", _p99(ours), _p99(synchronous), "≤ 0.2"),
        latency("P4 ours", f"99 % are accepted within, {at}", 0.99, paced),
        latency("P4 synchronous", f"synchronous: 99 % are accepted within, {at}", 0.99, theirs),
    ]


def _paced(ground: Ground, design: Design, uploads: int, rate: float) -> list[Answer]:
    """Send so many uploads a second, however long the answers take."""
    with installed(ground, design) as (_, port):
        return answered(Load(port, 1 + WARMING, uploads, MANY_CONNECTIONS, rate), 202)


def _p99(rounds: Sequence[list[Answer]]) -> list[float]:
    return [percentile([answer.took for answer in answers], 0.99) for answers in rounds]
