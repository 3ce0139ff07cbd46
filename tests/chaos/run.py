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
from tests.chaos.faults.redis import REDIS
from tests.chaos.ground import SOUND, Ground, ground
from tests.chaos.load import Load
from tests.chaos.result import Result, Strike

FAULTS = [CHILD_KILLED, *ENDINGS, *POSTGRES, *REDIS, *BOTH, DISK, CLOCK]
STANDSTILL_S = 20.0
LOOK_S = 0.2


def run(
    home: Path, seed: int, faults: Sequence[Fault], *, minutes: float = 0, commands: Mapping[str, str] = SOUND
) -> Result:
    """Let every fault that can run here strike once, and go on until the minutes are over."""
    end = time.monotonic() + minutes * 60
    with ground(home, seed, commands) as place:
        with Load(place.url, seed) as load:
            place.recover()
            strikes = [_strike(place, fault) for fault in _order(faults, seed, end)]
        _settle(place)
        counted = count(place.engine, load.accepted)
        return Result(seed, place.kills, load.accepted, strikes, counted, place.forgotten)


def _order(faults: Sequence[Fault], seed: int, end: float) -> Iterator[Fault]:
    """Shuffle the faults round after round; the first round is whole whatever the time."""
    chance = random.Random(seed)
    able = [fault for fault in faults if not fault.obstacle()]
    yield from _round(able, chance)
    while able and time.monotonic() < end:
        yield from takewhile(lambda _: time.monotonic() < end, _round(able, chance))


def _round(able: list[Fault], chance: random.Random) -> list[Fault]:
    """Put the likeliest and cheapest fault after each of the others."""
    if CHILD_KILLED not in able:
        return chance.sample(able, len(able))
    others = [fault for fault in able if fault is not CHILD_KILLED]
    shuffled = chance.sample(others, len(others))
    return [CHILD_KILLED, *(each for fault in shuffled for each in (fault, CHILD_KILLED))]


def _strike(place: Ground, fault: Fault) -> Strike:
    start = time.monotonic()
    fault.strike(place)
    if fault is not CHILD_KILLED:  # its siblings go on
        place.recover()
    end = time.monotonic()
    click.echo(f"{end - start:6.1f} s  {fault.name}", err=True)  # the run's only sign of life
    return Strike(fault.name, end)


def _settle(place: Ground) -> None:
    """Wait until every upload is final, or for as long as they become fewer."""
    fewest, since = place.waiting(), time.monotonic()
    while fewest and time.monotonic() - since < STANDSTILL_S:
        time.sleep(LOOK_S)
        if (now := place.waiting()) < fewest:
            fewest, since = now, time.monotonic()
