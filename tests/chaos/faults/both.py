"""Redis failing while Postgres is away, and uploads are in Redis alone."""

import json
import time

from shared.spool import MOVING, SPOOL
from tests.chaos.fault import Fault
from tests.chaos.system import System
from tests.faults import frozen
from tests.processes import until

# Long enough for the spool to fill.
AWAY_S = 3.0
# What docs/operations.md promises.
DRAINED_S = 2.0


def _kill_redis(system: System) -> None:
    with frozen(system.servers.postgres.pid):
        time.sleep(AWAY_S)
        system.servers.valkey.kill()
        system.kills += 1
        system.servers.valkey.start()
    until(lambda: not system.redis.exists(SPOOL, MOVING), "the spool is empty")


def _wipe_redis(system: System) -> None:
    """Wipe Redis while Postgres is away; note the uploads that only Redis had: these are not promised."""
    with frozen(system.servers.postgres.pid):
        time.sleep(AWAY_S)
        _wipe(system)


def _wipe(system: System) -> None:
    with system.redis.pipeline(transaction=True) as wipe:
        wipe.lrange(SPOOL, 0, -1)
        wipe.lrange(MOVING, 0, -1)
        wipe.flushall()
        waiting, moving, _ = wipe.execute()
    system.wiped |= {_uuid(entry) for entry in [*waiting, *moving]}


def _wipe_redis_after(system: System) -> None:
    """Wipe Redis two seconds after Postgres is back: by then Postgres has every upload.

    Where a slow machine has not moved all of them by then, the result counts the rest as not promised.
    """
    system.servers.postgres.stop()
    time.sleep(AWAY_S)
    system.servers.postgres.start()
    time.sleep(DRAINED_S)
    _wipe(system)


def _uuid(entry: str) -> str:
    return str(json.loads(json.loads(entry)["payload"])["client_session_uuid"])


BOTH = [
    Fault("redis killed, postgres away", _kill_redis),
    Fault("redis wiped, postgres away", _wipe_redis),
    Fault("redis wiped, postgres back for 2 s", _wipe_redis_after),
]
