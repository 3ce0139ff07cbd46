"""One run: load throughout, fault after fault, and a count at the end."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import click

from tests.chaos.count import count
from tests.chaos.fault import Fault
from tests.chaos.faults.both import BOTH
from tests.chaos.faults.clock import CLOCK
from tests.chaos.faults.disk import DISK
from tests.chaos.faults.endings import CHILD_KILLED, ENDINGS
from tests.chaos.faults.postgres import POSTGRES
from tests.chaos.faults.rabbitmq import RABBITMQ
from tests.chaos.faults.redis import REDIS
from tests.chaos.follower import Follower
from tests.chaos.load import Load
from tests.chaos.result import Injection, Result
from tests.chaos.system import COMMANDS, System, start_system

FAULTS = [CHILD_KILLED, *ENDINGS, *POSTGRES, *REDIS, *BOTH, RABBITMQ, DISK, CLOCK]
STANDSTILL_S = 20.0
LOOK_S = 0.2


def run(
    home: Path,
    seed: int,
    faults: Sequence[Fault],
    *,
    minutes: float = 0,
    commands: Mapping[str, str] = COMMANDS,
) -> Result:
    """Inject every fault that can run here once, then repeat until the minutes are over."""
    end = time.monotonic() + minutes * 60
    with start_system(home, seed, commands) as system, Follower(system.url) as follower:
        with Load(system.url, seed) as load:
            system.recover()
            injections = [_inject(system, fault) for fault in _order(faults, seed, end)]
        _settle(system)
        counted = count(system.engine, load.accepted, follower)
        return Result(seed, system.kills, load.accepted, injections, counted, system.wiped)


def _order(faults: Sequence[Fault], seed: int, end: float) -> Iterator[Fault]:
    """Shuffle the faults for each round; the first round is always complete."""
    rng = random.Random(seed)
    possible = [fault for fault in faults if not fault.why_not()]
    yield from _round(possible, rng)
    while possible and time.monotonic() < end:
        yield from takewhile(lambda _: time.monotonic() < end, _round(possible, rng))


def _round(possible: list[Fault], rng: random.Random) -> list[Fault]:
    """Shuffle the faults, with the likeliest and cheapest one between all others."""
    if CHILD_KILLED not in possible:
        return rng.sample(possible, len(possible))
    others = [fault for fault in possible if fault is not CHILD_KILLED]
    shuffled = rng.sample(others, len(others))
    return [CHILD_KILLED, *(each for fault in shuffled for each in (fault, CHILD_KILLED))]


def _inject(system: System, fault: Fault) -> Injection:
    start = time.monotonic()
    fault.inject(system)
    if fault is not CHILD_KILLED:  # the worker's other children continue
        system.recover()
    end = time.monotonic()
    click.echo(f"{end - start:6.1f} s  {fault.name}", err=True)  # the run's only sign of life
    return Injection(fault.name, end)


def _settle(system: System) -> None:
    """Wait until every upload is final, or for as long as they become fewer."""
    fewest, since = system.waiting(), time.monotonic()
    while fewest and time.monotonic() - since < STANDSTILL_S:
        time.sleep(LOOK_S)
        if (now := system.waiting()) < fewest:
            fewest, since = now, time.monotonic()
