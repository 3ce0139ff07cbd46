"""Run everything: stores, migrations and the Procfile's processes."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import migrations
from cli.datadir import SERVERS, last_env, make_data_dir, write_env
from cli.environment import METRICS, addresses, process_environment, stores, tokens
from cli.output import Output, to_files, to_terminal
from cli.ports import free_port, is_free
from cli.procfile import read_procfile
from cli.servers import Servers
from cli.supervisor import ProcessEndedError, Supervisor
from cli.waiting import wait_until
from shared.errors import StudyIngestError

FREED_SECONDS = 1.0  # after which a killed run's web process has let go of the port
READY_SECONDS = 60.0
ASK_SECONDS = 2.0


class NotReadyError(StudyIngestError):
    """The system does not come up."""


@dataclass(frozen=True)
class Running:
    """What runs: its environment, as in the data directory's `env` file, and its processes."""

    environment: dict[str, str]
    processes: Supervisor


@contextmanager
def running(data_dir: Path, port: int, *, logs: Path | None = None) -> Iterator[Running]:
    """Run everything for the length of a `with`, whose body begins once an upload would be accepted.

    The stores are the embedded ones unless DATABASE_URL or BROKER_URL is set. Port 0 is any free one. The
    processes write to files in `logs`, or to the terminal. SIGTERM and a hang-up act as Ctrl-C does. Raises a
    StudyIngestError that says what does not come up.
    """
    with ExitStack() as cleanup:
        cleanup.enter_context(_signals_as_interrupt())
        _refuse_taken(port)
        home = make_data_dir(data_dir)
        servers = cleanup.enter_context(_servers(home))
        environment = _prepare(home, servers, port or free_port())
        output = cleanup.enter_context(_quietly(logs) if logs else to_terminal())
        processes = Supervisor(read_procfile(), output, process_environment(environment, home))
        cleanup.enter_context(processes)
        _await_ready(environment["API_URL"], processes)
        yield Running(environment, processes)


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _quietly(logs: Path) -> Iterator[Output]:
    """Keep the output in files, and point there when a process ends."""
    try:
        yield to_files(logs)
    except ProcessEndedError as error:
        raise ProcessEndedError(f"{error}; its words are in {logs}") from None


def _servers(home: Path) -> Servers:
    return Servers(
        home / SERVERS,
        durable=True,
        postgres=not os.environ.get("DATABASE_URL"),
        valkey=not os.environ.get("BROKER_URL"),
    )


def _refuse_taken(port: int) -> None:
    if port and not wait_until(lambda: is_free(port), FREED_SECONDS):
        raise NotReadyError(f"port {port} is taken; choose another with --port (0: any that is free)")


def _prepare(home: Path, servers: Servers, port: int) -> dict[str, str]:
    """Migrate the database and write down the environment."""
    last = last_env(home)
    environment = {**addresses(port, last), **stores(servers), **tokens(last)}
    migrations.upgrade(environment["DATABASE_URL"])
    shutil.rmtree(home / METRICS, ignore_errors=True)  # counted by processes that are gone
    write_env(home, environment)
    return environment


def _await_ready(url: str, processes: Supervisor) -> None:
    def is_ready() -> bool:
        processes.check()
        return _answers(f"{url}/readyz")

    if not wait_until(is_ready, READY_SECONDS):
        raise NotReadyError(f"the web process at {url} is not ready after {READY_SECONDS:.0f} s")


def _answers(url: str) -> bool:
    try:
        # Past a proxy of the environment: it is this machine that is asked.
        return httpx.get(url, timeout=ASK_SECONDS, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
