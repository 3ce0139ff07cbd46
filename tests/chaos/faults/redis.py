"""Redis wiped, restarted, killed, frozen, or full."""

import time

from redis import Redis

from shared.broker import REPLAY_QUEUE
from shared.spool import MOVING, SPOOL
from tests.chaos.fault import Fault
from tests.chaos.faults.disk import limit_files, no_prlimit
from tests.chaos.system import System
from tests.faults import frozen
from tests.processes import until

# Past the socket timeout of workers, and not past it.
FREEZE_S = (0.5, 7.0)
FULL_S = (0.5, 4.0)
SEVERAL = 4
MALFORMED = (
    "?",
    "null",
    "[]",
    '{"headers": {}, "properties": {}}',
    b"\xff\xfe",
    '{"payload": 7, "received_at": 7}',
)
UNLESS_SPOOLED = "return redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 and redis.call('FLUSHALL')"


def wipe(system: System) -> None:
    """Wipe everything at a moment at which nothing is spooled: then all of it is also in Postgres."""
    until(lambda: system.redis.eval(UNLESS_SPOOLED, 2, SPOOL, MOVING), "the spool is empty")


def _wipe_messages(system: System) -> None:
    """Wipe everything while messages wait for a worker that takes none."""
    with frozen(system.supervisor.leader("worker").pid), _queue(system) as queue:
        # Several: the load may repeat the last upload, which then is not lost.
        until(lambda: queue.llen(REPLAY_QUEUE) > SEVERAL, "messages wait")
        wipe(system)


def _restart(system: System) -> None:
    system.servers.valkey.restart()


def _kill(system: System) -> None:
    system.servers.valkey.kill()
    system.kills += 1
    system.servers.valkey.start()


def _freeze(system: System) -> None:
    with frozen(system.servers.valkey.pid):
        time.sleep(system.rng.uniform(*FREEZE_S))


def _fill_memory(system: System) -> None:
    system.redis.config_set("maxmemory", 1)
    time.sleep(system.rng.uniform(*FULL_S))
    system.redis.config_set("maxmemory", 0)


def _fill_disk(system: System) -> None:
    """Let every write to a file fail (`cli.local.pdeathsig` ignores SIGXFSZ, which would kill the server)."""
    _limit_files(system, "0")
    time.sleep(system.rng.uniform(*FULL_S))
    _limit_files(system, "unlimited")


def _limit_files(system: System, size: str) -> None:
    server = system.servers.valkey
    # As the server's own user: root may lack the right in a container.
    limit_files(server.pid, size, user=server.account.uid, group=server.account.gid)


def _send_malformed(system: System) -> None:
    """Put what is no message into the workers' queue, and what is no entry into the spool."""
    with _queue(system) as queue:
        for each in MALFORMED:
            queue.lpush(REPLAY_QUEUE, each)
    for each in MALFORMED:
        system.redis.lpush(SPOOL, each)
    until(lambda: not system.redis.exists(SPOOL, MOVING), "the spool is empty")


def _queue(system: System) -> Redis:
    """Connect to Celery's database, in redis-py's form."""
    return Redis.from_url(system.servers.redis_url.replace("db=1", "db=0"))


REDIS = [
    Fault("redis wiped", wipe),
    Fault("redis wiped, messages waiting", _wipe_messages),
    Fault("redis restarted", _restart),
    Fault("redis killed", _kill),
    Fault("redis frozen", _freeze),
    Fault("redis at maxmemory", _fill_memory),
    Fault("redis disk full", _fill_disk, no_prlimit),
    Fault("malformed messages", _send_malformed),
]
