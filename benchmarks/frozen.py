"""How long senders wait while stores hang: they are stopped, not ended, so connections give no error."""

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from benchmarks.accept import answered, latency
from benchmarks.client import Answer, Load
from benchmarks.figures import Figure
from benchmarks.servers import PROCFILE, Stores, serving
from tests.faults import frozen

RATE = 64.0  # requests per second
CONNECTIONS = 128  # more than the requests that wait at once
ROUNDS, QUICK_ROUNDS = 5, 2


class Phase(NamedTuple):
    """What is measured while `frozen` stores hang; `after_s`: seconds before that; `limit`: p99's target."""

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


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Send at an even pace while stores are stopped and continued."""
    settings = stores.settings("frozen")
    with (
        stores.database("frozen"),
        stores.redis() as redis,
        serving(stores, settings, PROCFILE["web"]) as port,
    ):
        rounds = [_round(stores, port, number) for number in range(QUICK_ROUNDS if quick else ROUNDS)]
        redis.flushall()
    return [
        figure
        for phase, of_phase in zip(PHASES, zip(*rounds, strict=True), strict=True)
        for figure in _figures(phase, of_phase)
    ]


def _round(stores: Stores, port: int, number: int) -> list[list[Answer]]:
    answers = []
    servers = stores.servers.postgres, stores.servers.valkey
    for index, phase in enumerate(PHASES):
        first = 1 + (number * len(PHASES) + index) * 1000
        load = Load(port, first, int(RATE * phase.seconds), CONNECTIONS, RATE)
        with ExitStack() as cleanup:
            for server in servers:
                if server.name in phase.frozen:
                    cleanup.enter_context(frozen(server.pid))
            time.sleep(phase.after_s)
            answers.append(answered(load, phase.status))
    return answers


def _figures(phase: Phase, rounds: tuple[list[Answer], ...]) -> list[Figure]:
    what = f"answered {phase.status} within, {RATE:.0f} requests a second"
    return [
        latency(f"{phase.name}: p50", f"half {what}", 0.5, rounds),
        replace(latency(f"{phase.name}: p99", f"99 % {what}", 0.99, rounds), target=phase.limit),
    ]
