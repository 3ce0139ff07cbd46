"""The system under test: its own servers, every process, and a seeded random generator."""

import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from redis import Redis
from sqlalchemy import Engine, NullPool, create_engine, text

import migrations
from cli.local.servers import Postgres, Servers
from cli.local.supervisor import wait_until
from shared.config import Settings
from shared.spool import MOVING, SPOOL
from tests import factories
from tests.chaos.supervisor import Supervisor
from tests.processes import BRISK, PROCFILE, Processes, free_port, is_ready, until
from tests.standby import at
from tests.standby import url as several

# So few that replays of one learner overlap, and so many that each learner's history stays short.
LEARNERS = 100
PATIENT = {
    # A kill counts as a try, and here kills come several times a second.
    "max_tries": 50,
    # Uploads of a 20 s outage must not be enqueued again before the workers can replay them.
    "enqueue_again_after": 5.0,
    "queue_limit": 200,
}
# More children than processors, so that replays overlap at every statement. Flower only shows.
COMMANDS = {name: PROCFILE[name] for name in PROCFILE if name != "flower"} | {
    "worker": f"{PROCFILE['worker']} --concurrency 4"
}
RECOVERY_S = 30.0
REPLAYED = "SELECT count(*) FROM study_quiz_sessions"


@dataclass
class System:
    """An installation into which faults are injected.

    `standby`: where a standby of Postgres can be started; `wiped`: uploads that no store has any more.
    """

    servers: Servers
    standby: Postgres
    supervisor: Supervisor
    engine: Engine
    redis: Redis
    url: str
    rng: random.Random
    wiped: set[str] = field(default_factory=set)
    kills: int = 0

    def kill(self, process: psutil.Process) -> None:
        """Kill a process, unless it has just ended."""
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return
        self.kills += 1

    def start_again(self, name: str, how: signal.Signals, environment: Mapping[str, str]) -> None:
        """End a process, and wait until it runs again with something beside the settings."""
        before = len(self.supervisor.output(name))
        self.supervisor.environment[name] = dict(environment)
        self.supervisor.end(name, how)
        self.kills += how == signal.SIGKILL
        until(lambda: len(self.supervisor.output(name)) > before, f"{name} has logged that it started")

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
        """Wait until uploads are accepted and replayed again; if they never are, the final count shows it."""
        wait_until(lambda: is_ready(self.url), RECOVERY_S)
        replayed = self.number(REPLAYED)
        wait_until(lambda: self.number(REPLAYED) > replayed, RECOVERY_S)


@contextmanager
def start_system(home: Path, seed: int, commands: Mapping[str, str]) -> Iterator[System]:
    """Start everything, with a catalog and no uploads."""
    with Servers(home / "servers", durable=True) as servers:
        standby = at(home / "standby")
        database_url = several(servers.postgres, standby)
        migrations.upgrade(database_url)
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(f"{database_url}?target_session_attrs=read-write"),
            poolclass=NullPool,
        )
        factories.load_many(engine, LEARNERS)
        settings = _settings(servers, database_url, home)
        url = f"http://{settings.host}:{settings.port}"
        with (
            ExitStack() as cleanup,
            Redis.from_url(servers.redis_url, decode_responses=True) as redis,
            Supervisor(Processes(settings, home), commands) as supervisor,
        ):
            cleanup.callback(standby.stop)
            until(lambda: is_ready(url), "the web process is ready")
            yield System(servers, standby, supervisor, engine, redis, url, random.Random(seed))


def _settings(servers: Servers, database_url: str, home: Path) -> Settings:
    own: dict[str, Any] = {
        "database_url": database_url,
        "broker_url": servers.broker_url,
        "redis_url": servers.redis_url,
        "study_ingest_enabled": True,
        "viewer_sync_token": "viewer-token-of-tests",
        "study_api_token": "study-token-of-tests",
        "port": free_port(),
        "prometheus_multiproc_dir": str(home / "metrics"),
    }
    return Settings(**BRISK | PATIENT | own)
