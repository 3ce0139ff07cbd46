"""Redis wiped, restarted, killed, frozen, or full."""

import shutil
import subprocess
import time

from shared.spool import MOVING, SPOOL
from tests.chaos.fault import Fault
from tests.chaos.ground import Ground
from tests.faults import frozen
from tests.processes import until

# Past the socket timeout of workers, and not past it.
FREEZE_S = (0.5, 7.0)
FULL_S = (0.5, 4.0)
UNLESS_SPOOLED = "return redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 and redis.call('FLUSHALL')"


def wipe(ground: Ground) -> None:
    """Wipe everything at a moment at which nothing is spooled: then all of it is also in Postgres."""
    until(lambda: ground.redis.eval(UNLESS_SPOOLED, 2, SPOOL, MOVING), "the spool is empty")


def _restart(ground: Ground) -> None:
    ground.servers.valkey.restart()


def _kill(ground: Ground) -> None:
    ground.servers.valkey.kill()
    ground.kills += 1
    ground.servers.valkey.start()


def _freeze(ground: Ground) -> None:
    with frozen(ground.servers.valkey.pid):
        time.sleep(ground.chance.uniform(*FREEZE_S))


def _fill_memory(ground: Ground) -> None:
    ground.redis.config_set("maxmemory", 1)
    time.sleep(ground.chance.uniform(*FULL_S))
    ground.redis.config_set("maxmemory", 0)


def _fill_disk(ground: Ground) -> None:
    """Let every write to a file fail (the leash ignores the signal that would say so)."""
    _limit_files(ground, "0")
    time.sleep(ground.chance.uniform(*FULL_S))
    _limit_files(ground, "unlimited")


def _limit_files(ground: Ground, size: str) -> None:
    server = ground.servers.valkey
    command = ["prlimit", f"--pid={server.pid}", f"--fsize={size}:"]
    # As the server's own user: root may lack the right in a container.
    subprocess.run(command, user=server.account.uid, group=server.account.gid, check=True)


def _no_prlimit() -> str:
    return "" if shutil.which("prlimit") else "the program prlimit is not installed"


REDIS = [
    Fault("redis wiped", wipe),
    Fault("redis restarted", _restart),
    Fault("redis killed", _kill),
    Fault("redis frozen", _freeze),
    Fault("redis at maxmemory", _fill_memory),
    Fault("redis disk full", _fill_disk, _no_prlimit),
]
