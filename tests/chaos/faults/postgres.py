"""Postgres restarted, killed, frozen, away, or rid of its connections."""

import time

from sqlalchemy import text

from tests.chaos.fault import Fault
from tests.chaos.ground import Ground
from tests.faults import frozen

# Past the web process's deadline and the worker's time limits, and not past them.
FREEZE_S = (0.5, 6.0)
AWAY_S = 20.0


def _restart(ground: Ground) -> None:
    ground.servers.postgres.restart()


def _kill(ground: Ground) -> None:
    ground.servers.postgres.kill()
    ground.kills += 1
    ground.servers.postgres.start()


def _freeze(ground: Ground) -> None:
    with frozen(ground.servers.postgres.pid):
        time.sleep(ground.chance.uniform(*FREEZE_S))


def _stop(ground: Ground) -> None:
    ground.servers.postgres.stop()
    time.sleep(AWAY_S)
    ground.servers.postgres.start()


def _cut(ground: Ground) -> None:
    with ground.engine.connect() as connection:
        connection.execute(
            text("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()""")
        )


POSTGRES = [
    Fault("postgres restarted", _restart),
    Fault("postgres killed", _kill),
    Fault("postgres frozen", _freeze),
    Fault("postgres stopped 20 s", _stop),
    Fault("all connections cut", _cut),
]
