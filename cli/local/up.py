"""`up`: run everything on this machine: stores, migrations and the Procfile's processes.

This process stays small: what needs SQLAlchemy, Celery or gevent runs in other processes.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import click

from cli.local import places, supervisor
from cli.local.pdeathsig import tied
from cli.local.servers import Servers
from shared.errors import StudyIngestError

USUAL_PORT = 8000
PORT = click.IntRange(0, 65535)
LOOPBACK = "127.0.0.1"
PROCFILE = Path(__file__).resolve().parents[2] / "Procfile"
FLOWER_DB = "flower.db"
SAMPLE = PROCFILE.parent / "cli" / "sample" / "catalog.json"
SAMPLE_LEARNER = 42  # not 1: a real catalog's first learner may share the database
VIEWER_KEYS, SIGNING_KEY = "viewer-keys.json", "viewer-signing-key.json"
AUDIENCE = "study-ingest"
METRICS = "metrics"
SECRETS = ("VIEWER_SYNC_TOKEN", "STUDY_API_TOKEN", "OPS_PASSWORD", "METRICS_TOKEN", "FLOWER_BASIC_AUTH")
RELEASE_SECONDS = 1.0  # within which the web process of a killed run releases its port
READY_SECONDS = 60.0
ASK_SECONDS = 2.0


class NotReadyError(StudyIngestError):
    """A part of the system does not start; the text names it."""


@click.command()
@places.data_dir_option
@click.option(
    "--port",
    type=PORT,
    envvar="PORT",
    show_envvar=True,
    default=USUAL_PORT,
    show_default=True,
    help="0: any free port.",
)
@click.option(
    "--flower-port",
    type=PORT,
    envvar="FLOWER_PORT",
    show_envvar=True,
    default=0,
    help="0, the default: the port of the last run if it is free, else any free port.",
)
def up(data_dir: Path, *, port: int, flower_port: int) -> None:
    """Start everything and keep it running; print `ready URL` when uploads are accepted.

    Postgres is embedded unless DATABASE_URL is set, Valkey unless BROKER_URL is set; both keep their data in
    the data directory.
    """
    with suppress(KeyboardInterrupt), running(data_dir, port, flower_port) as everything:
        api, flower = everything.environment["API_URL"], everything.environment["FLOWER_URL"]
        load = f"{sys.argv[0]} catalog load {SAMPLE} --data-dir {data_dir.absolute()}"
        lines = (
            f"ready {api}",
            f"for operators: {api}/ops and {flower}",
            f"quiz page: {everything.sign_in_link()}",
            f"to load the quiz page's learner and questions: {load}",
            f"addresses, tokens and passwords are in {data_dir / places.ENV}",
        )
        for line in lines:
            supervisor.print_line(line)
        everything.keep()


@dataclass(frozen=True)
class Running:
    """A running system: its environment, as in the data directory's `env` file, and its processes."""

    environment: dict[str, str]
    processes: supervisor.Supervisor
    servers: Servers

    def sign_in_link(self) -> str:
        """Return the address of the quiz page; with a signing key, it also signs in the sample's learner."""
        page = f"{self.environment['API_URL']}/viewer/"
        if not self.environment["VIEWER_SIGNING_KEY"]:
            return page
        mint = ("tokens", "mint", "--learner", str(SAMPLE_LEARNER))
        return f"{page}#token={_run(self.environment, 'no sign-in link could be made', *mint)}"

    def keep(self) -> NoReturn:
        """Restart every process that ends, until one keeps failing."""
        servers = self.servers.processes
        self.processes.keep(*(supervisor.Restarts(each.name, each.poll, each.start) for each in servers))


@contextmanager
def running(
    data_dir: Path, port: int, flower_port: int = 0, *, logs: Path | None = None
) -> Iterator[Running]:
    """Run everything for the length of a `with`, whose body begins once an upload would be accepted.

    Postgres is embedded unless DATABASE_URL is set, Valkey unless BROKER_URL is set. Port 0 means any free
    port, but Flower keeps its port of the last run if that is free. The processes write to files in `logs`,
    or to the terminal. SIGTERM and SIGHUP act as Ctrl-C does. Raises a StudyIngestError that names what does
    not start.
    """
    with ExitStack() as cleanup:
        for caught in (signal.SIGTERM, signal.SIGHUP):
            # If nohup has set SIGHUP to be ignored, this stays: `up` outlives the terminal.
            if signal.getsignal(caught) != signal.SIG_IGN:
                cleanup.callback(signal.signal, caught, signal.signal(caught, signal.default_int_handler))
        if port and port == flower_port:
            raise NotReadyError(f"--port and --flower-port are both {port}: choose two ports")
        for number, option in ((port, "--port"), (flower_port, "--flower-port")):
            if number and not supervisor.wait_until(partial(is_free, number), RELEASE_SECONDS):
                raise NotReadyError(
                    f"port {number} is taken, perhaps by another `up`; "
                    f"choose another port with {option} (0: any free port)"
                )
        places.act_as_owner(data_dir)
        home = places.make_data_dir(data_dir)
        embedded = Servers(
            home / places.SERVERS,
            durable=True,
            postgres=not os.environ.get("DATABASE_URL"),
            valkey=not os.environ.get("BROKER_URL"),
        )
        servers = cleanup.enter_context(embedded)
        last = places.last_env(home)
        environment = {
            **addresses(port or free_port(), flower_port, last),
            **stores(servers),
            **tokens(last),
            **learner_tokens(home),
            **data_settings(),
        }
        # Without DATABASE_URL, MIGRATE_DATABASE_URL would name another database than the embedded one.
        elsewhere = {} if os.environ.get("DATABASE_URL") else {"MIGRATE_DATABASE_URL": ""}
        _run(environment | elsewhere, "the database could not be migrated", "migrate")
        shutil.rmtree(home / METRICS, ignore_errors=True)  # counts of processes that have ended
        places.write_env(home, environment)
        output = cleanup.enter_context(_log_files(logs) if logs else supervisor.to_terminal())
        processes = supervisor.Supervisor(read_procfile(), output, process_environment(environment, home))
        cleanup.enter_context(processes)
        _await_ready(environment["API_URL"], processes)
        yield Running(environment, processes, servers)


def addresses(port: int, flower_port: int, last: Mapping[str, str]) -> dict[str, str]:
    """Return the URLs of the web process and of Flower.

    With `flower_port` 0, Flower keeps its port of the `last` run if that port is free; else it gets any free
    port. Flower's usual port is not tried first: two runs that start at once would both find it free.
    """
    previous = urlsplit(last.get("FLOWER_URL", "")).port
    flower = flower_port or free_port(previous if previous != port else None)
    return {"API_URL": f"http://{LOOPBACK}:{port}", "FLOWER_URL": f"http://{LOOPBACK}:{flower}"}


def stores(servers: Servers) -> dict[str, str]:
    """Return the stores' URLs: those of our environment, else the embedded ones.

    If BROKER_URL is set, there is no spool unless REDIS_URL is set, too.
    """
    redis = "" if os.environ.get("BROKER_URL") else servers.redis_url
    return {
        "DATABASE_URL": os.environ.get("DATABASE_URL") or servers.database_url,
        "BROKER_URL": os.environ.get("BROKER_URL") or servers.broker_url,
        "REDIS_URL": os.environ.get("REDIS_URL") or redis,
    }


def tokens(last: Mapping[str, str]) -> dict[str, str]:
    """Return tokens and passwords: each from our own environment, else from the last run, else a new one."""
    made = {name: secrets.token_urlsafe(24) for name in SECRETS}
    made["FLOWER_BASIC_AUTH"] = f"operator:{made['FLOWER_BASIC_AUTH']}"
    return {name: os.environ.get(name) or last.get(name) or made[name] for name in SECRETS}


def data_settings() -> dict[str, str]:
    """Return DATABASE_SCHEMA and STUDY_TIME_ZONE if set: commands in other shells need the same values."""
    names = ("DATABASE_SCHEMA", "STUDY_TIME_ZONE")
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def learner_tokens(home: Path) -> dict[str, str]:
    """Return settings of learners' tokens: the environment's, else paths in `home`; make missing files."""
    settings = {"VIEWER_TOKEN_KEYS": str(home / VIEWER_KEYS), "VIEWER_TOKEN_AUDIENCE": AUDIENCE}
    settings["VIEWER_SIGNING_KEY"] = str(home / SIGNING_KEY)
    if os.environ.get("VIEWER_TOKEN_KEYS"):
        return {name: os.environ.get(name, "") for name in settings}
    if not ((home / VIEWER_KEYS).exists() and (home / SIGNING_KEY).exists()):
        (home / SIGNING_KEY).unlink(missing_ok=True)
        files = ("--signing-key", settings["VIEWER_SIGNING_KEY"], "--keys", settings["VIEWER_TOKEN_KEYS"])
        _run({}, "the keys of learners' tokens could not be made", "tokens", "keygen", *files)
    return settings


def process_environment(shown: Mapping[str, str], home: Path) -> dict[str, str]:
    """Join our own environment, that of the `env` file, and settings that only the processes get."""
    programs = str(Path(sys.executable).parent)
    return {
        **os.environ,
        **shown,
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "STUDY_INGEST_ENABLED": "1",
        "VIEWER_PAGE": "1",
        "HOST": LOOPBACK,
        "PORT": str(urlsplit(shown["API_URL"]).port),
        "FLOWER_ADDRESS": LOOPBACK,
        "FLOWER_PORT": str(urlsplit(shown["FLOWER_URL"]).port),
        "FLOWER_DB": str(home / FLOWER_DB),
        "PROMETHEUS_MULTIPROC_DIR": str(home / METRICS),
    }


def read_procfile(path: Path = PROCFILE) -> dict[str, str]:
    """Return the shell command of each process, in the file's order."""
    return dict(re.findall(r"^([\w-]+):\s*(\S.*)$", path.read_text(), re.MULTILINE))


def is_free(port: int) -> bool:
    """Return whether a server could listen at the port."""
    with socket.socket() as probe:
        # Servers set this, too: without it, a client's closed connection holds the port for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """Return the preferred port if it is free, else any free one."""
    if preferred and is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _log_files(logs: Path) -> Iterator[supervisor.Output]:
    try:
        yield supervisor.to_files(logs)
    except supervisor.ProcessEndedError as error:
        raise supervisor.ProcessEndedError(f"{error}; its log is in {logs}") from None


def _run(environment: Mapping[str, str], failure: str, *command: str) -> str:
    ran = subprocess.run(  # noqa: S603  # our own command; no shell
        tied([sys.executable, "-P", "-m", "cli", *command], signal.SIGTERM),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise NotReadyError(f"{failure}: {ran.stderr.removeprefix('Error: ').strip()}")
    return ran.stdout.strip()


def _await_ready(url: str, processes: supervisor.Supervisor) -> None:
    def is_ready() -> bool:
        processes.check()
        web = HTTPConnection(LOOPBACK, urlsplit(url).port, timeout=ASK_SECONDS)
        try:
            web.request("GET", "/readyz")
            return web.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            web.close()

    if not supervisor.wait_until(is_ready, READY_SECONDS):
        raise NotReadyError(f"the web process at {url} is not ready after {READY_SECONDS:.0f} s")
