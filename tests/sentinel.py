"""A Redis, its replica and three Sentinels, from the distribution's packages; a test may kill the master."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from cli.local.pdeathsig import tied
from tests.processes import free_port, until

NAME = "study"
LOOPBACK = "127.0.0.1"
SENTINELS, QUORUM = 3, 2
WATCH = """
sentinel monitor {name} {address} {port} {quorum}
sentinel down-after-milliseconds {name} 1000
sentinel failover-timeout {name} 5000
"""


class Replicated:
    """A master and its replica; `master` and `sentinels` are ports."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.master = self.run("redis-server")
        self.replica = self.run("redis-server", "--replicaof", LOOPBACK, str(self.master))
        until(lambda: self.info(self.replica)["master_link_status"] == "up", "the replica follows")
        self.sentinels = [self._watch() for _ in range(SENTINELS)]
        until(lambda: all(map(self._knows_all, self.sentinels)), "the sentinels know each other")

    def run(self, program: str, *options: str) -> int:
        port = free_port()
        directory = self.home / str(port)
        directory.mkdir()
        config = directory / "config"
        config.write_text("")
        command = [program, str(config), "--port", str(port), "--bind", LOOPBACK, "--dir", str(directory)]
        with (directory / "log").open("wb") as log:
            self.processes[port] = subprocess.Popen(
                tied([*command, "--save", "", "--appendonly", "yes", *options], signal.SIGKILL),
                stdout=log,
                stderr=log,
            )
        until(lambda: self.answers(port), f"{program} answers")
        return port

    def _watch(self) -> int:
        port = free_port()
        config = self.home / f"{port}.conf"
        watched = WATCH.format(name=NAME, address=LOOPBACK, port=self.master, quorum=QUORUM)
        config.write_text(f"port {port}\nbind {LOOPBACK}\ndir {self.home}\n{watched}")
        with (self.home / f"{port}.log").open("wb") as log:
            self.processes[port] = subprocess.Popen(
                tied(["redis-sentinel", str(config)], signal.SIGKILL), stdout=log, stderr=log
            )
        until(lambda: self.answers(port), "the sentinel answers")
        return port

    def client(self, port: int) -> "Redis":
        return Redis(LOOPBACK, port, decode_responses=True)

    def answers(self, port: int) -> bool:
        try:
            with self.client(port) as redis:
                return bool(redis.ping())
        except RedisError:
            return False

    def info(self, port: int) -> dict[str, str]:
        with self.client(port) as redis:
            found: dict[str, str] = redis.info("replication")
            return found

    def _knows_all(self, port: int) -> bool:
        with self.client(port) as redis:
            known = redis.sentinel_master(NAME)
        return (known["num-other-sentinels"], known["num-slaves"]) == (SENTINELS - 1, 1)

    def url(self, db: int) -> str:
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self.sentinels)
        return f"sentinel://{hosts}/{db}?master_name={NAME}"

    def kill_master(self) -> None:
        """Kill the master and wait until the replica is promoted."""
        self.processes[self.master].kill()
        until(lambda: self.info(self.replica)["role"] == "master", "the replica is promoted")


def why_not() -> str:
    """Return which programs are not installed; an empty text if all are."""
    missing = [name for name in ("redis-server", "redis-sentinel") if shutil.which(name) is None]
    return f"not installed (Debian's packages of that name): {', '.join(missing)}" if missing else ""


@contextmanager
def replicated(home: Path) -> Iterator[Replicated]:
    """Run the servers; kill them at the end of the `with`."""
    servers = Replicated(home)
    try:
        yield servers
    finally:
        for process in servers.processes.values():
            process.kill()
            process.wait()
