"""P4 and P8: the same uploads accepted and replayed by other designs, in the same run."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple

import click
from sqlalchemy import Engine, text

from benchmarks.accept import UNBOUNDED, answered, latency
from benchmarks.client import Answer, Load, throughput
from benchmarks.drain import TIMEOUT_S
from benchmarks.figures import Figure, percentile, ratio
from benchmarks.servers import GEVENT, PROCFILE, Stores, running, serving, variables
from benchmarks.workload import UnfinishedError, make_catalog

ROUNDS, QUICK_ROUNDS = 5, 1
UPLOADS, QUICK_UPLOADS = 500, 100
WARMING = 20
CONNECTIONS = 8
# So many that a slow answer delays no other upload.
MANY_CONNECTIONS = 64
# Share of the synchronous design's highest rate: at this load senders wait, but it does not fall behind.
SHARE = 0.8
POLL_SECONDS = 0.05
FILLED = "peers_filled"  # has the catalog, and is copied for each design
PEERS = "benchmarks.peers"

_REPLAYED = text("SELECT count(DISTINCT client_session_uuid) FROM study_quiz_sessions")


class Design(NamedTuple):
    """A way to do the work: web process, workers, what makes its tables, and the package that it needs."""

    name: str
    web: str
    workers: Mapping[str, str]
    schema: str = "true"
    needs: str = "flask"


PROCRASTINATE = f"procrastinate --app {PEERS}.procrastinated.app"
OURS = Design("study-ingest", PROCFILE["web"], {"worker": PROCFILE["worker"]})
SYNCHRONOUS = Design("synchronous", f"{GEVENT} {PEERS}.synchronous", {})
OTHERS = (
    SYNCHRONOUS,
    Design("Celery", f"{GEVENT} {PEERS}.textbook", {"worker": f"celery --app {PEERS}.textbook worker"}),
    Design(
        "Procrastinate",
        f"{GEVENT} {PEERS}.procrastinated",
        # Two, as Celery starts on two processors: each is a process that does one job at a time.
        {f"worker-{number}": f"{PROCRASTINATE} worker" for number in range(2)},
        f"{PROCRASTINATE} schema --apply",
        "procrastinate",
    ),
    Design(
        "PgQueuer",
        f"{GEVENT} {PEERS}.queued",
        {f"worker-{number}": f"python -m {PEERS}.queued work" for number in range(2)},
        'PGDSN="$DATABASE_URL" pgq install',
        "pgqueuer",
    ),
    Design(
        "Dramatiq",
        f"{GEVENT} {PEERS}.actor",
        {"worker": f"dramatiq {PEERS}.actor"},
        needs="dramatiq",
    ),
)


class Round(NamedTuple):
    """What one design did in one round: its answers, and the uploads that it replayed per second."""

    answers: list[Answer]
    replayed: float


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Let every design accept and replay uploads; in each round, the designs take turns."""
    others = [design for design in OTHERS if find_spec(design.needs)]
    for missing in [design for design in OTHERS if design not in others]:
        click.echo(
            f"{missing.name} is left out: {missing.needs} is not installed: use `uv run --group benchmarks`",
            err=True,
        )
    uploads = QUICK_UPLOADS if quick else UPLOADS
    with stores.database(FILLED):
        with stores.engine(FILLED) as engine, engine.begin() as connection:
            make_catalog(connection)
        rounds = [
            {design.name: _round(stores, design, uploads) for design in (OURS, *others)}
            for _ in range(QUICK_ROUNDS if quick else ROUNDS)
        ]
        by_design = {name: [each[name] for each in rounds] for name in rounds[0]}
        waits = _waits(stores, uploads, by_design)
    ours = by_design.pop(OURS.name)
    figures = [figure for name, theirs in by_design.items() for figure in _beside(name, ours, theirs)]
    return [*waits, *figures, *_alone(OURS.name, ours)]


@contextmanager
def _installed(stores: Stores, design: Design) -> Iterator[tuple[Engine, int]]:
    """Serve a design with its own database, and warm it up; yield the database's engine, and the port."""
    settings = stores.settings("peer", queue_limit=UNBOUNDED)
    with (
        stores.database("peer", FILLED),
        stores.engine("peer") as engine,
        stores.redis() as redis,
    ):
        redis.flushall()
        schema = ["/bin/sh", "-c", design.schema]
        subprocess.run(schema, env=variables(settings), check=True)  # noqa: S603  # the commands are ours
        with serving(stores, settings, design.web) as port:
            answered(Load(port, 1, WARMING, CONNECTIONS), 202)
            yield engine, port


def _round(stores: Stores, design: Design, uploads: int) -> Round:
    with _installed(stores, design) as (engine, port):
        answers = answered(Load(port, 1 + WARMING, uploads, CONNECTIONS), 202)
        if not design.workers:
            return Round(answers, throughput(answers))
        with running(stores, stores.settings("peer", queue_limit=UNBOUNDED), design.workers):
            return Round(answers, _replayed(engine, WARMING + uploads))


def _replayed(engine: Engine, uploads: int) -> float:
    """Wait until all uploads are replayed; return the uploads per second since the first was seen."""
    give_up_at = time.perf_counter() + TIMEOUT_S
    begun_at, first, done = 0.0, 0, 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while done < uploads:
            time.sleep(POLL_SECONDS)
            done = connection.execute(_REPLAYED).scalar_one()
            if done and not first:
                begun_at, first = time.perf_counter(), done
            if time.perf_counter() > give_up_at:
                raise UnfinishedError(f"{done} of {uploads} uploads are replayed after {TIMEOUT_S:.0f} s")
    return (uploads - first) / (time.perf_counter() - begun_at)


def _waits(stores: Stores, uploads: int, by_design: Mapping[str, list[Round]]) -> list[Figure]:
    """Compare how long a sender waits (P4): at an equal load, and at the most that each design can take."""
    busy = [[each.answers for each in by_design[design.name]] for design in (OURS, SYNCHRONOUS)]
    rates = [SHARE * throughput(answers) for answers in busy[1]]
    ours, theirs = [
        [_paced(stores, design, uploads, rate) for rate in rates] for design in (OURS, SYNCHRONOUS)
    ]
    at = f"at {SHARE:.0%} of the uploads a second that the synchronous design takes"
    each_busy = f"each as busy as {CONNECTIONS} connections make it"
    what = "accept p99 ÷ that of the synchronous design"
    return [
        ratio("P4", f"{what}, {at}", _p99(ours), _p99(theirs), "≤ 0.2"),
        ratio("P4/busy", f"{what}, {each_busy}", _p99(busy[0]), _p99(busy[1]), "≤ 0.2"),
        latency("P4 ours", f"99 % are accepted within, {at}", 0.99, ours),
        latency("P4 synchronous", f"synchronous: 99 % are accepted within, {at}", 0.99, theirs),
    ]


def _paced(stores: Stores, design: Design, uploads: int, rate: float) -> list[Answer]:
    """Send `rate` uploads per second, however long the answers take."""
    with _installed(stores, design) as (_, port):
        return answered(Load(port, 1 + WARMING, uploads, MANY_CONNECTIONS, rate), 202)


def _p99(rounds: list[list[Answer]]) -> list[float]:
    return [percentile([answer.took for answer in answers], 0.99) for answers in rounds]


def _beside(name: str, ours: list[Round], theirs: list[Round]) -> list[Figure]:
    accepted = [[throughput(each.answers) for each in side] for side in (ours, theirs)]
    replayed = [[each.replayed for each in side] for side in (ours, theirs)]
    more = "≥ 2.2" if name == SYNCHRONOUS.name else "> 1"
    return [
        ratio(f"P8 accept/{name}", f"uploads accepted ÷ {name}", accepted[0], accepted[1], "> 1"),
        ratio(f"P8 drain/{name}", f"uploads replayed ÷ {name}", replayed[0], replayed[1], more),
        *_alone(name, theirs),
    ]


def _alone(name: str, rounds: list[Round]) -> list[Figure]:
    accepted = tuple(throughput(each.answers) for each in rounds)
    within = f"{name}: 99 % are accepted within"
    return [
        Figure(f"{name} accept", f"{name}: uploads accepted", accepted, "/s"),
        latency(f"{name} p99", within, 0.99, [each.answers for each in rounds]),
        Figure(f"{name} drain", f"{name}: uploads replayed", tuple(each.replayed for each in rounds), "/s"),
    ]
