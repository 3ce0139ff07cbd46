"""P4 and P8: the same uploads taken in and worked off by other designs, in the same run."""

import time
from importlib.util import find_spec
from typing import NamedTuple

import click
from sqlalchemy import Engine, text

from benchmarks.accept import answered, latency
from benchmarks.client import Answer, Load, throughput
from benchmarks.design import (
    CONNECTIONS,
    FILLED,
    OTHERS,
    OURS,
    SYNCHRONOUS,
    UNBOUNDED,
    WARMING,
    Design,
    installed,
)
from benchmarks.drain import PATIENCE_S
from benchmarks.figure import Figure, ratio
from benchmarks.ground import Ground, running
from benchmarks.lessons import UnfinishedError, make_catalog
from benchmarks.waits import p4

ROUNDS, QUICK_ROUNDS = 5, 1
UPLOADS, QUICK_UPLOADS = 500, 100
LOOK_SECONDS = 0.05

_WORKED_OFF = text("SELECT count(DISTINCT client_session_uuid) FROM study_quiz_sessions")


class Round(NamedTuple):
    """What one design did in one round: its answers, and the uploads that it worked off in a second."""

    answers: list[Answer]
    drained: float


def measure(ground: Ground, *, quick: bool) -> list[Figure]:
    """Let every design take uploads in and work them off, all of them in turn in each round."""
    others = [design for design in OTHERS if find_spec(design.needs)]
    for missing in [design for design in OTHERS if design not in others]:
        click.echo(f"{missing.name} is left out: {missing.needs} is not installed", err=True)
    uploads = QUICK_UPLOADS if quick else UPLOADS
    with ground.database(FILLED):
        with ground.engine(FILLED) as engine, engine.begin() as connection:
            make_catalog(connection)
        rounds = [
            {design.name: _round(ground, design, uploads) for design in (OURS, *others)}
            for _ in range(QUICK_ROUNDS if quick else ROUNDS)
        ]
        by_design = {name: [each[name] for each in rounds] for name in rounds[0]}
        busy = [[each.answers for each in by_design[design.name]] for design in (OURS, SYNCHRONOUS)]
        waits = p4(ground, uploads, *busy)
    ours = by_design.pop(OURS.name)
    figures = [figure for name, theirs in by_design.items() for figure in _beside(name, ours, theirs)]
    return [*waits, *figures, *_alone(OURS.name, ours)]


def _round(ground: Ground, design: Design, uploads: int) -> Round:
    with installed(ground, design) as (engine, port):
        answers = answered(Load(port, 1 + WARMING, uploads, CONNECTIONS), 202)
        if not design.workers:
            return Round(answers, throughput(answers))
        with running(ground, ground.settings("peer", high_water=UNBOUNDED), design.workers):
            return Round(answers, _until_drained(engine, WARMING + uploads))


def _until_drained(engine: Engine, uploads: int) -> float:
    """Wait for the workers; return the uploads in a second, from when they have begun."""
    give_up_at = time.perf_counter() + PATIENCE_S
    begun_at, first, done = 0.0, 0, 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while done < uploads:
            time.sleep(LOOK_SECONDS)
            done = connection.execute(_WORKED_OFF).scalar_one()
            if done and not first:
                begun_at, first = time.perf_counter(), done
            if time.perf_counter() > give_up_at:
                raise UnfinishedError(f"{done} of {uploads} uploads are worked off in {PATIENCE_S:.0f} s")
    return (uploads - first) / (time.perf_counter() - begun_at)


def _beside(name: str, ours: list[Round], theirs: list[Round]) -> list[Figure]:
    accepted = [[throughput(each.answers) for each in side] for side in (ours, theirs)]
    drained = [[each.drained for each in side] for side in (ours, theirs)]
    return [
        ratio(f"P8 accept/{name}", f"uploads accepted ÷ {name}", accepted[0], accepted[1], "> 1"),
        ratio(f"P8 drain/{name}", f"uploads worked off ÷ {name}", drained[0], drained[1], "> 1"),
        *_alone(name, theirs),
    ]


def _alone(name: str, rounds: list[Round]) -> list[Figure]:
    accepted = tuple(throughput(each.answers) for each in rounds)
    within = f"{name}: 99 % are accepted within"
    return [
        Figure(f"{name} accept", f"{name}: uploads accepted", accepted, "/s"),
        latency(f"{name} p99", within, 0.99, [each.answers for each in rounds]),
        Figure(f"{name} drain", f"{name}: uploads worked off", tuple(each.drained for each in rounds), "/s"),
    ]
