"""How long senders wait while stores hang: stopped, not away, so that nothing tells the web process."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

import psutil

from benchmarks.accept import answered, latency
from benchmarks.client import Answer, Load
from benchmarks.figure import Figure
from benchmarks.ground import PROCFILE, Ground, serving
from cli.local.servers import ServerProcess

RATE = 64.0  # a second
CONNECTIONS = 128  # more than are waited for at once
ROUNDS, QUICK_ROUNDS = 5, 2


class Phase(NamedTuple):
    """A time to measure: which stores are frozen, from when on, for how long, and what is answered."""

    name: str
    frozen: tuple[str, ...]
    after_s: float
    seconds: float
    status: int
    limit: str


PHASES = (
    Phase("both well", (), 0, 2, 202, ""),
    Phase("Redis frozen", ("valkey",), 0, 4, 202, "< 1,500"),
    Phase("3 s after Redis", (), 3, 2, 202, ""),
    Phase("Postgres frozen, first 2 s", ("postgres",), 0, 2, 202, "< 1,500"),
    Phase("Postgres frozen, breaker open", ("postgres",), 0, 4, 202, "< 100"),
    Phase("5 s after Postgres", (), 5, 2, 202, ""),
    Phase("both frozen, first 2 s", ("postgres", "valkey"), 0, 2, 503, "< 1,500"),
    Phase("both frozen, breakers open", ("postgres", "valkey"), 0, 4, 503, "< 100"),
    Phase("5 s after both", (), 5, 2, 202, ""),
)


def measure(ground: Ground, *, quick: bool) -> list[Figure]:
    """Send at an even pace while stores are frozen and thawed."""
    settings = ground.settings("frozen")
    with (
        ground.database("frozen"),
        ground.broker() as redis,
        serving(ground, settings, PROCFILE["web"]) as port,
    ):
        rounds = [_round(ground, port, number) for number in range(QUICK_ROUNDS if quick else ROUNDS)]
        redis.flushall()
    return [
        figure
        for phase, of_phase in zip(PHASES, zip(*rounds, strict=True), strict=True)
        for figure in _figures(phase, of_phase)
    ]


def _round(ground: Ground, port: int, number: int) -> list[list[Answer]]:
    answers = []
    stores = ground.servers.postgres, ground.servers.valkey
    for place, phase in enumerate(PHASES):
        first = 1 + (number * len(PHASES) + place) * 1000
        load = Load(port, first, int(RATE * phase.seconds), CONNECTIONS, RATE)
        frozen = [store for store in stores if store.name in phase.frozen]
        with _frozen(frozen):
            time.sleep(phase.after_s)
            answers.append(answered(load, phase.status))
    return answers


@contextmanager
def _frozen(servers: Sequence[ServerProcess]) -> Iterator[None]:
    """Stop servers with all their children, as a machine that hangs does."""
    family = []
    for server in servers:
        parent = psutil.Process(server.pid)
        parent.suspend()  # first, so that it starts no more
        family += [parent, *parent.children(recursive=True)]
    _tell(family, "suspend")
    try:
        yield
    finally:
        _tell(family, "resume")


def _tell(processes: list[psutil.Process], what: str) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            getattr(process, what)()


def _figures(phase: Phase, rounds: tuple[list[Answer], ...]) -> list[Figure]:
    said = f"answered {phase.status} within, {RATE:.0f} requests a second"
    return [
        latency(f"{phase.name}: p50", f"half {said}", 0.5, rounds),
        replace(latency(f"{phase.name}: p99", f"99 % {said}", 0.99, rounds), target=phase.limit),
    ]
