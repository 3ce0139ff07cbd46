"""Run everything: stores, migrations and the Procfile's processes."""

import os
import re
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click
import httpx

import migrations
from cli.context import ENV, SERVERS, data_dir_option, last_env, make_data_dir, write_env
from cli.local import Servers
from cli.local.supervisor import Output, ProcessEndedError, Supervisor, to_files, to_terminal, wait_until
from shared.errors import StudyIngestError

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Tell whether a server could listen at the port."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do; else a past client blocks
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """Return the preferred port if it is free, else one that is."""
    if preferred and is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


FLOWER_DB = "flower.db"
METRICS = "metrics"


def _new_token() -> str:
    return secrets.token_urlsafe(24)


SECRETS: Mapping[str, Callable[[], str]] = {
    "VIEWER_SYNC_TOKEN": _new_token,
    "STUDY_API_TOKEN": _new_token,
    "OPS_PASSWORD": _new_token,
    "METRICS_TOKEN": _new_token,
    "FLOWER_BASIC_AUTH": lambda: f"operator:{_new_token()}",
}


def stores(servers: Servers) -> dict[str, str]:
    """Name the stores: our own environment's, else the embedded ones; a foreign broker has no spool."""
    redis = "" if os.environ.get("BROKER_URL") else servers.redis_url
    return {
        "DATABASE_URL": os.environ.get("DATABASE_URL") or servers.database_url,
        "BROKER_URL": os.environ.get("BROKER_URL") or servers.broker_url,
        "REDIS_URL": os.environ.get("REDIS_URL") or redis,
    }


def addresses(port: int, last: Mapping[str, str]) -> dict[str, str]:
    """Say where the web process and Flower listen; Flower stays where it was `last`, if it can.

    At first it takes any free port: two that start at once would both find its usual one free.
    """
    flower = free_port(urlsplit(last.get("FLOWER_URL", "")).port)
    return {"API_URL": f"http://{LOOPBACK}:{port}", "FLOWER_URL": f"http://{LOOPBACK}:{flower}"}


def tokens(last: Mapping[str, str]) -> dict[str, str]:
    """Take each token from our own environment, else the last one, else make one."""
    return {name: os.environ.get(name) or last.get(name) or new() for name, new in SECRETS.items()}


def process_environment(shown: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return what the processes get: ours, what `up` shows in its file, and what only they need."""
    programs = str(Path(sys.executable).parent)
    return {
        **os.environ,
        **shown,
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "STUDY_INGEST_ENABLED": "1",
        "HOST": LOOPBACK,
        "PORT": str(urlsplit(shown["API_URL"]).port),
        "FLOWER_ADDRESS": LOOPBACK,
        "FLOWER_PORT": str(urlsplit(shown["FLOWER_URL"]).port),
        "FLOWER_DB": str(home / FLOWER_DB),
        "METRICS_DIR": str(home / METRICS),
    }


PROCFILE = Path(__file__).resolve().parents[2] / "Procfile"
LINE = re.compile(r"^([\w-]+):\s*(\S.*)$", re.MULTILINE)


def read_procfile(path: Path = PROCFILE) -> dict[str, str]:
    """Return the shell command of each process, in the file's order."""
    return dict(LINE.findall(path.read_text()))


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


USUAL_PORT = 8000


@click.command()
@data_dir_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=USUAL_PORT, show_default=True, help="0: any free one."
)
def up(data_dir: Path, *, port: int) -> None:
    """Start everything and keep it running; print `ready URL` when uploads are accepted.

    Postgres and Valkey are embedded and live in the data directory, unless DATABASE_URL or BROKER_URL is set.
    """
    with suppress(KeyboardInterrupt), running(data_dir, port) as everything:
        api, flower = everything.environment["API_URL"], everything.environment["FLOWER_URL"]
        click.echo(f"ready {api}")
        click.echo(f"operators look at {api}/ops and {flower}")
        click.echo(f"addresses, tokens and passwords are in {data_dir / ENV}")
        everything.processes.wait()
