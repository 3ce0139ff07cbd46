"""The designs that are compared: ours, and other ways to do the same work."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Engine

from benchmarks.accept import answered
from benchmarks.client import Load
from benchmarks.ground import GREEN, PROCFILE, Ground, environment, serving

CONNECTIONS = 8
WARMING = 20
# No worker takes the rings away while uploads are accepted, and still each is to be published.
UNBOUNDED = 10**9
# A catalog that is made once, and copied for each.
FILLED = "peers_filled"
PEERS = "benchmarks.peers"


class Design(NamedTuple):
    """A way to do the work: its web process and workers, what makes its tables, and the package it needs."""

    name: str
    web: str
    workers: Mapping[str, str]
    schema: str = "true"
    needs: str = "flask"


PROCRASTINATE = f"procrastinate --app {PEERS}.procrastinated.app"
OURS = Design("study-ingest", PROCFILE["web"], {"worker": PROCFILE["worker"]})
SYNCHRONOUS = Design("synchronous", f"{GREEN} {PEERS}.synchronous", {})
OTHERS = (
    SYNCHRONOUS,
    Design("Celery", f"{GREEN} {PEERS}.textbook", {"worker": f"celery --app {PEERS}.textbook worker"}),
    Design(
        "Procrastinate",
        f"{GREEN} {PEERS}.procrastinated",
        # As many as Celery starts by itself on two processors: one job at a time each, with its own Python.
        {f"worker-{number}": f"{PROCRASTINATE} worker" for number in range(2)},
        f"{PROCRASTINATE} schema --apply",
        "procrastinate",
    ),
)


@contextmanager
def installed(ground: Ground, design: Design) -> Iterator[tuple[Engine, int]]:
    """Serve a design, with a database of its own, warmed up; return that and the port."""
    settings = ground.settings("peer", high_water=UNBOUNDED)
    with (
        ground.database("peer", FILLED),
        ground.engine("peer") as engine,
        ground.broker() as redis,
    ):
        redis.flushall()
        schema = ["/bin/sh", "-c", design.schema]
        subprocess.run(schema, env=environment(settings), check=True)  # noqa: S603  # our own words
        with serving(ground, settings, design.web) as port:
            answered(Load(port, 1, WARMING, CONNECTIONS), 202)
            yield engine, port
