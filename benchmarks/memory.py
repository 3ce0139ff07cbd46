"""P7: what is held in memory while a million uploads wait, beside none; and how many rings that takes."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import psutil
from redis import Redis
from sqlalchemy import Engine, text

from benchmarks.accept import answered
from benchmarks.client import Load
from benchmarks.figure import Figure, ratio
from benchmarks.ground import PROCFILE, Ground, running, serving
from benchmarks.lessons import LEARNERS, make_catalog, make_uploads
from shared.broker import FINALIZE_QUEUE
from shared.config import Settings

BACKLOG, QUICK_BACKLOG = 1_000_000, 20_000
SECONDS, QUICK_SECONDS = 60, 8
BATCH = 50  # sittings of every learner that are made by one statement
WARMING = 200
CONNECTIONS = 8
# What of its command line tells a process.
ROLES = {"web": "api", "worker": "--queues finalize", "sweeper": "--queues sweep"}
MEBIBYTE = 2**20

_WORKED_OFF = text("SELECT count(*) FROM uploads WHERE status <> 'received'")


class Held(NamedTuple):
    """The most MiB that each role held, the most rings that waited, the rings published, the uploads done."""

    memory: Mapping[str, float]
    depth: int
    rings: int
    worked_off: int


def measure(ground: Ground, *, quick: bool) -> list[Figure]:
    """Run every process with nothing to do, then with a backlog."""
    backlog = QUICK_BACKLOG if quick else BACKLOG
    seconds = QUICK_SECONDS if quick else SECONDS
    without, within = _held(ground, 0, seconds), _held(ground, backlog, seconds)
    mark = ground.settings("memory").high_water
    what = f"with {backlog:,} uploads waiting"
    rings_each = within.rings / (within.worked_off + mark)
    return [
        *(
            ratio(f"P7/{role}", f"memory of {role} {what} ÷ with none", [within.memory[role]], [most])
            for role, most in without.memory.items()
        ),
        *(
            Figure(f"{role} {when}", f"memory of {role}, {when}", (side.memory[role],), "MiB")
            for when, side in (("with none", without), (what, within))
            for role in side.memory
        ),
        Figure("P7 rings waiting", f"most rings in Redis {what}", (within.depth,), target=f"≤ {mark}"),
        Figure("P7 rings", "rings published ÷ (uploads worked off + mark)", (rings_each,), target="≤ 1"),
    ]


def _held(ground: Ground, backlog: int, seconds: int) -> Held:
    settings = ground.settings("memory")
    with ground.database("memory"), ground.engine("memory") as engine, ground.broker() as redis:
        with engine.begin() as connection:
            make_catalog(connection)
        redis.flushall()
        with _everything(ground, settings) as port:
            answered(Load(port, 1, WARMING, CONNECTIONS), 202)
            _until_worked_off(engine, WARMING)
            _pile_up(engine, backlog)
            redis.config_resetstat()
            samples = list(_sample(redis, seconds))
            published = redis.info("commandstats")["cmdstat_lpush"]["calls"]
        worked_off = _count(engine) - WARMING
        redis.flushall()
    memory = {role: max(held[role] for held, _ in samples) for role in samples[0][0]}
    # Beat's own calls travel the same way; they only make the number larger.
    return Held(memory, max(depth for _, depth in samples), published, worked_off)


@contextmanager
def _everything(ground: Ground, settings: Settings) -> Iterator[int]:
    commands = {name: PROCFILE[name] for name in ("worker", "sweeper", "beat")}
    with ExitStack() as cleanup:
        port = cleanup.enter_context(serving(ground, settings, PROCFILE["web"]))
        cleanup.enter_context(running(ground, settings, commands))
        yield port


def _pile_up(engine: Engine, backlog: int) -> None:
    """Make overdue uploads, of one attempt each: no process holds a payload that it does not replay."""
    sittings = backlog // LEARNERS
    for first in range(1, 1 + sittings, BATCH):
        numbers = range(first, min(first + BATCH, 1 + sittings))
        with engine.begin() as connection:
            make_uploads(connection, range(1, 1 + LEARNERS), numbers, attempts=1, due_in=0)


def _until_worked_off(engine: Engine, uploads: int) -> None:
    while _count(engine) < uploads:
        time.sleep(0.5)


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(_WORKED_OFF).scalar_one())


def _sample(redis: Redis, seconds: int) -> Iterator[tuple[Counter[str], int]]:
    """Look once a second; return the MiB of each role, and the rings that wait."""
    for _ in range(seconds):
        time.sleep(1)
        held: Counter[str] = Counter()
        for process in psutil.Process().children(recursive=True):
            command = " ".join(process.cmdline())
            for role, mark in ROLES.items():
                if mark in command:
                    held[role] += process.memory_info().rss / MEBIBYTE
        held["Redis"] += redis.info("memory")["used_memory"] / MEBIBYTE
        yield held, int(redis.llen(FINALIZE_QUEUE))
