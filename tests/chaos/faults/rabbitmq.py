"""RabbitMQ as the broker, restarted while it is used."""

import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.fault import Fault
from tests.chaos.system import System
from tests.processes import reachable_directory
from tests.rabbitmq import program, rabbitmq

AWAY_S = 2.0


def _restart(system: System) -> None:
    """Move every process to a RabbitMQ, restart it under load, and move them back."""
    with reachable_directory() as home, rabbitmq(str(program()), home) as server:
        _use(system, {"BROKER_URL": server.url})
        system.recover()
        server.stop()
        time.sleep(AWAY_S)
        server.start_again()
        system.recover()
        _use(system, {})


def _use(system: System, broker: Mapping[str, str]) -> None:
    """Start all processes again at once, with another broker."""
    names = system.supervisor.commands
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: system.start_again(name, signal.SIGKILL, broker), names))


def _why_not() -> str:
    return "" if program() else "RabbitMQ is not installed"


RABBITMQ = Fault("rabbitmq restarted", _restart, _why_not)
