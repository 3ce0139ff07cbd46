"""What the faults act on: servers of their own, every process, and chance."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from redis import Redis
from sqlalchemy import Engine, NullPool, create_engine, text

import migrations
from cli.local.servers import Servers
from cli.local.supervisor import wait_until
from cli.local.up import read_procfile
from shared.config import Settings
from shared.spool import MOVING, SPOOL
from tests import factories
from tests.chaos.keeper import Keeper
from tests.processes import BRISK, Processes, free_port, until

# Replays of one learner meet, and each is short: his history stays short too.
LEARNERS = 100
PATIENT = {
    # A kill counts as a try; here, unlike on any machine, they strike several times a second.
    "max_tries": 50,
    # What twenty seconds of outage leave behind must not be enqueued again before it can be worked off.
    "enqueue_again_after": 5.0,
    "queue_limit": 200,
}
PROCFILE = read_procfile()
# More children than processors, so that replays meet at every statement. Flower shows, and takes no part.
SOUND = {name: PROCFILE[name] for name in PROCFILE if name != "flower"} | {
    "worker": f"{PROCFILE['worker']} --concurrency 4"
}
RECOVERY_S = 30.0
REPLAYED = "SELECT count(*) FROM study_quiz_sessions"


@dataclass
class Ground:
    """One installation that is being mistreated; `forgotten` are uploads that no store keeps any more."""

    servers: Servers
    keeper: Keeper
    engine: Engine
    redis: Redis
    url: str
    chance: random.Random
    forgotten: set[str] = field(default_factory=set)
    kills: int = 0

    def kill(self, process: psutil.Process) -> None:
        """Kill a process; it may be faster."""
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return
        self.kills += 1

    def column(self, sql: str) -> set[Any]:
        """Ask the database for a column."""
        with self.engine.connect() as connection:
            return set(connection.execute(text(sql)).scalars())

    def number(self, sql: str) -> int:
        """Ask the database for one number."""
        return int(self.column(sql).pop())

    def waiting(self) -> int:
        """Count the uploads that are not final, in either store."""
        spooled = self.redis.llen(SPOOL) + self.redis.llen(MOVING)
        return spooled + self.number("SELECT count(*) FROM uploads WHERE status = 'received'")

    def recover(self) -> None:
        """Wait until uploads are taken in and replayed again; if they never are, the end will tell."""
        wait_until(lambda: _ready(self.url), RECOVERY_S)
        replayed = self.number(REPLAYED)
        wait_until(lambda: self.number(REPLAYED) > replayed, RECOVERY_S)


@contextmanager
def ground(home: Path, seed: int, commands: Mapping[str, str]) -> Iterator[Ground]:
    """Start everything; it has a catalog, and no upload yet."""
    with Servers(home / "servers", durable=True) as servers:
        migrations.upgrade(servers.database_url)
        engine = create_engine(servers.database_url, poolclass=NullPool)
        factories.load_many(engine, LEARNERS)
        settings = _settings(servers, home)
        url = f"http://{settings.host}:{settings.port}"
        with (
            Redis.from_url(servers.redis_url, decode_responses=True) as redis,
            Keeper(Processes(settings, home), commands) as keeper,
        ):
            until(lambda: _ready(url), "the web process is ready")
            yield Ground(servers, keeper, engine, redis, url, random.Random(seed))


def _settings(servers: Servers, home: Path) -> Settings:
    own: dict[str, Any] = {
        "database_url": servers.database_url,
        "broker_url": servers.broker_url,
        "redis_url": servers.redis_url,
        "study_ingest_enabled": True,
        "viewer_sync_token": "viewer-token-of-tests",
        "port": free_port(),
        "prometheus_multiproc_dir": str(home / "metrics"),
    }
    return Settings(**BRISK | PATIENT | own)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False
