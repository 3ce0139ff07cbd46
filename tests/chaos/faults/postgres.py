"""Postgres restarted, killed, frozen, away, or rid of its connections."""

import shutil
import time

from sqlalchemy import text

from tests.chaos.fault import Fault
from tests.chaos.system import System
from tests.faults import frozen
from tests.standby import attach, promote

# Past the web process's deadline and the worker's time limits, and not past them.
FREEZE_S = (0.5, 6.0)
AWAY_S = 20.0
LATER_S = (0.5, 3.0)


def _restart(system: System) -> None:
    system.servers.postgres.restart()


def _kill(system: System) -> None:
    system.servers.postgres.kill()
    system.kills += 1
    system.servers.postgres.start()


def _freeze(system: System) -> None:
    with frozen(system.servers.postgres.pid):
        time.sleep(system.rng.uniform(*FREEZE_S))


def _stop(system: System) -> None:
    system.servers.postgres.stop()
    time.sleep(AWAY_S)
    system.servers.postgres.start()


def _cut(system: System) -> None:
    with system.engine.connect() as connection:
        connection.execute(
            text("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()""")
        )


def _promote(system: System) -> None:
    """Kill the primary once a standby has all that is acknowledged, and promote that a little later.

    The old primary's place is that of the next standby.
    """
    primary, standby = system.servers.postgres, system.standby
    shutil.rmtree(standby.cluster, ignore_errors=True)
    attach(primary, standby)
    time.sleep(system.rng.uniform(*LATER_S))
    primary.kill()
    system.kills += 1
    time.sleep(system.rng.uniform(*LATER_S))
    promote(standby)
    system.servers.postgres, system.standby = standby, primary


POSTGRES = [
    Fault("postgres restarted", _restart),
    Fault("postgres killed", _kill),
    Fault("postgres frozen", _freeze),
    Fault("postgres stopped 20 s", _stop),
    Fault("all connections cut", _cut),
    Fault("standby promoted", _promote),
]
