"""P7: memory of each process while a million uploads wait, and while none do; and the messages sent."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import psutil
from redis import Redis
from sqlalchemy import Engine, text

from benchmarks.accept import answered
from benchmarks.client import Load
from benchmarks.figures import Figure, ratio
from benchmarks.servers import PROCFILE, Stores, running, serving
from benchmarks.workload import LEARNERS, make_catalog, make_uploads
from shared.broker import REPLAY_QUEUE

BACKLOG, QUICK_BACKLOG = 1_000_000, 20_000
SECONDS, QUICK_SECONDS = 60, 8
BATCH = 50  # sittings of every learner that are made by one statement
WARMING = 200
CONNECTIONS = 8
# The part of a process's command line that identifies its role.
ROLES = {"web": "api", "worker": "--queues replay", "sweeper": "worker.sweeper"}
MEBIBYTE = 2**20

_REPLAYED = text("SELECT count(*) FROM uploads WHERE status <> 'received'")


class Peak(NamedTuple):
    """The most MiB of each role, the most messages that waited, messages published, and uploads replayed."""

    memory: Mapping[str, float]
    depth: int
    messages: int
    replayed: int


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Run every process with nothing to do, then with a backlog."""
    backlog = QUICK_BACKLOG if quick else BACKLOG
    seconds = QUICK_SECONDS if quick else SECONDS
    none, waiting = _peak(stores, 0, seconds), _peak(stores, backlog, seconds)
    queue_limit = stores.settings("memory").queue_limit
    what = f"with {backlog:,} uploads waiting"
    messages = waiting.messages / (waiting.replayed + queue_limit)
    return [
        *(
            ratio(
                f"P7/{role}", f"memory of {role} {what} ÷ with none", [waiting.memory[role]], [most], "≤ 1.1"
            )
            for role, most in none.memory.items()
        ),
        *(
            Figure(f"{role} {when}", f"memory of {role}, {when}", (side.memory[role],), "MiB")
            for when, side in (("with none", none), (what, waiting))
            for role in side.memory
        ),
        Figure(
            "P7 messages waiting",
            f"most messages in Redis {what}",
            (waiting.depth,),
            target=f"≤ {queue_limit}",
        ),
        Figure(
            "P7 messages",
            "messages published ÷ (uploads replayed + queue limit)",
            (messages,),
            target="≤ 1",
        ),
    ]


def _peak(stores: Stores, backlog: int, seconds: int) -> Peak:
    settings = stores.settings("memory")
    with stores.database("memory"), stores.engine("memory") as engine, stores.redis() as redis:
        with engine.begin() as connection:
            make_catalog(connection)
        redis.flushall()
        with (
            serving(stores, settings, PROCFILE["web"]) as port,
            running(stores, settings, {name: PROCFILE[name] for name in ("worker", "sweeper")}),
        ):
            answered(Load(port, 1, WARMING, CONNECTIONS), 202)
            while _count(engine) < WARMING:
                time.sleep(0.5)
            _make_backlog(engine, backlog)
            redis.config_resetstat()
            samples = list(_sample(redis, seconds))
            commands = redis.info("commandstats")
            published = commands.get("cmdstat_lpush", {"calls": 0})["calls"]
        replayed = _count(engine) - WARMING
        redis.flushall()
    memory = {role: max(memory[role] for memory, _ in samples) for role in samples[0][0]}
    return Peak(memory, max(depth for _, depth in samples), published, replayed)


def _make_backlog(engine: Engine, backlog: int) -> None:
    """Make overdue uploads of one attempt each: a process reads only the payloads that it replays."""
    sittings = backlog // LEARNERS
    for first in range(1, 1 + sittings, BATCH):
        numbers = range(first, min(first + BATCH, 1 + sittings))
        with engine.begin() as connection:
            make_uploads(connection, range(1, 1 + LEARNERS), numbers, asked=[0], due_in=0)


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(_REPLAYED).scalar_one())


def _sample(redis: Redis, seconds: int) -> Iterator[tuple[Counter[str], int]]:
    """Look once a second; yield the MiB of each role, and the number of messages that wait."""
    for _ in range(seconds):
        time.sleep(1)
        memory: Counter[str] = Counter()
        for process in psutil.Process().children(recursive=True):
            command = " ".join(process.cmdline())
            for role, part in ROLES.items():
                if part in command:
                    memory[role] += process.memory_info().rss / MEBIBYTE
        memory["Redis"] += redis.info("memory")["used_memory"] / MEBIBYTE
        yield memory, int(redis.llen(REPLAY_QUEUE))
