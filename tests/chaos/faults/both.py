"""Redis failing while Postgres is away, and uploads are in Redis alone."""

import json
import time

from shared.spool import MOVING, SPOOL
from tests.chaos.fault import Fault
from tests.chaos.ground import Ground
from tests.faults import frozen
from tests.processes import until

# Long enough for the spool to fill.
AWAY_S = 3.0
# What docs/operations.md promises.
DRAINED_S = 2.0


def _kill_redis(ground: Ground) -> None:
    with frozen(ground.servers.postgres.pid):
        time.sleep(AWAY_S)
        ground.servers.valkey.kill()
        ground.kills += 1
        ground.servers.valkey.start()
    until(lambda: not ground.redis.exists(SPOOL, MOVING), "the spool is empty")


def _wipe_redis(ground: Ground) -> None:
    """Wipe the one store that answers, noting what it alone kept: that much is not promised."""
    with frozen(ground.servers.postgres.pid):
        time.sleep(AWAY_S)
        with ground.redis.pipeline(transaction=True) as wipe:
            wipe.lrange(SPOOL, 0, -1)
            wipe.lrange(MOVING, 0, -1)
            wipe.flushall()
            waiting, moving, _ = wipe.execute()
    ground.forgotten |= {_uuid(entry) for entry in [*waiting, *moving]}


def _wipe_redis_after(ground: Ground) -> None:
    """Wipe it two seconds after Postgres is back: by then Redis alone keeps nothing."""
    ground.servers.postgres.stop()
    time.sleep(AWAY_S)
    ground.servers.postgres.start()
    time.sleep(DRAINED_S)
    ground.redis.flushall()


def _uuid(entry: str) -> str:
    return str(json.loads(json.loads(entry)["payload"])["client_session_uuid"])


BOTH = [
    Fault("redis killed, postgres away", _kill_redis),
    Fault("redis wiped, postgres away", _wipe_redis),
    Fault("redis wiped, postgres back for 2 s", _wipe_redis_after),
]
