"""A RabbitMQ for a test, from the distribution's package; nothing of it runs on after the test."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import amqp

from cli.local.pdeathsig import tied
from tests.processes import free_port, until

PACKAGED = Path("/usr/lib/rabbitmq/lib")


@dataclass
class RabbitMQ:
    """A RabbitMQ server, which a test can kill and start again."""

    port: int
    start: Callable[[], subprocess.Popen[bytes]]

    def __post_init__(self) -> None:
        self.process = self.start()
        self._wait()

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Shut the server down cleanly."""
        self.process.terminate()
        self.process.wait()

    def start_again(self) -> None:
        """Start the server again with its data, and wait until it answers."""
        self.process = self.start()
        self._wait()

    def kill(self) -> None:
        """Kill the server with all its children."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _wait(self) -> None:
        until(lambda: self.process.poll() is not None or self.answers(), "RabbitMQ answers")
        assert self.process.poll() is None, "RabbitMQ ended; its output is beside its data"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def connect(self) -> amqp.Connection:
        connection = amqp.Connection(f"127.0.0.1:{self.port}")
        connection.connect()
        return connection

    def answers(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True


def program() -> str | None:
    """Find the server; Debian's on PATH is a wrapper that only two users may run."""
    packaged = next(PACKAGED.glob("*/sbin/rabbitmq-server"), None)
    return str(packaged) if packaged else shutil.which("rabbitmq-server")


@contextmanager
def rabbitmq(program: str, home: Path) -> Iterator[RabbitMQ]:
    """Run a server and its port mapper (epmd): one that the server started would outlive the server."""
    port, mapper_port = free_port(), str(free_port())
    settings = {
        "HOME": str(home),  # for Erlang's cookie
        "ERL_EPMD_PORT": mapper_port,
        "RABBITMQ_NODENAME": f"study-ingest-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(home),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
    }
    mapper = ["epmd", "-address", "127.0.0.1", "-port", mapper_port]
    with running(mapper, home, {}):
        server = RabbitMQ(port, lambda: started([program], home, settings))
        try:
            yield server
        finally:
            server.kill()


def started(command: list[str], home: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    with (home / "output").open("ab") as output:
        return subprocess.Popen(
            tied(command, signal.SIGKILL),
            env=os.environ | settings,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@contextmanager
def running(command: list[str], home: Path, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = started(command, home, settings)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
