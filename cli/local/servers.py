"""Run an embedded Postgres and Valkey, so that neither has to be installed."""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from cli.local import places
from cli.local.pdeathsig import tied
from cli.local.supervisor import wait_until

ORPHAN_SECONDS = 30.0  # a server may write a last checkpoint to a slow disk
START_SECONDS = 60.0  # recovery after a crash, on a slow disk
STOP_SECONDS = 20.0
PING_SECONDS = 1.0
LAST_BACKENDS_SECONDS = 20.0  # no statement of ours runs longer, unless it hangs
LOG_TAIL = 1500  # characters: about one screen
PASSED_ON = ("PATH", "LD_LIBRARY_PATH")  # all that servers get of our environment: no tokens, no PGPORT
USER, DATABASE = "study", "study_ingest"
PORT = 5432  # names the socket; always passed, since a PGPORT of the environment would change it
SETTINGS = {
    "listen_addresses": "",  # unix socket only: no password to guess, no conflict with another server
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "max_connections": "200",  # enough for web threads, workers and many test clients
    "shared_buffers": "64MB",
    "log_error_verbosity": "terse",  # DETAIL quotes rows, which hold learners' answers
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",  # statements may hold values, too
}
UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
STILL_IN_USE = "pre-existing shared memory block"


class Servers:
    """Run the embedded servers for the length of a `with`; their data is in `directory`.

    `durable=False` is for tests only: it is faster, but Postgres loses data in a power cut, and Valkey loses
    data at every stop. `self.postgres` and `self.valkey` may be stopped, killed and restarted one by one, by
    a thread that lives as long as the `with`: on Linux, a server ends with the thread that started it.
    """

    postgres: "Postgres"
    valkey: "Valkey"

    def __init__(self, directory: Path, *, durable: bool, postgres: bool = True, valkey: bool = True) -> None:
        self.directory, self.durable = directory, durable
        self._with_postgres, self._with_valkey = postgres, valkey
        self.processes: list[ServerProcess] = []
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            account = places.account_for(self.directory)
            home = places.make_servers_directory(self.directory, account)
            cleanup.enter_context(places.locked(home))
            sockets = places.socket_directory(home, account)
            cleanup.callback(shutil.rmtree, sockets, ignore_errors=True)
            if self._with_postgres:
                self.postgres = Postgres(home, account, sockets, durable=self.durable)
                cleanup.callback(self.postgres.stop)
                self.postgres.start()
                self.processes.append(self.postgres)
            if self._with_valkey:
                self.valkey = Valkey(home, account, sockets, durable=self.durable)
                cleanup.callback(self.valkey.stop)
                self.valkey.start()
                self.processes.append(self.valkey)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def database_url(self) -> str:
        """The URL of the database, as libpq and SQLAlchemy both read it."""
        return f"postgresql://{USER}@:{PORT}/{DATABASE}?host={self.postgres.sockets}"

    @property
    def broker_url(self) -> str:
        """The URL of Celery's queues, in kombu's form."""
        return f"redis+socket://{self.valkey.socket}?virtual_host=0"

    @property
    def redis_url(self) -> str:
        """The URL of the spool, in redis-py's form; not the broker's database, which may be purged."""
        return f"unix://{self.valkey.socket}?db=1"


class ServerProcess(ABC):
    """Start, stop, kill and restart one server.

    Call `start` in a thread that outlives the server: on Linux, the server stops when that thread ends.
    """

    name: str
    stop_signal: signal.Signals

    def __init__(self, home: Path, account: places.Account) -> None:
        self.home = home
        self.account = account
        self.log = home / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether the server accepts clients."""

    @property
    def pid(self) -> int:
        """The process id, by which tests freeze and kill the server."""
        return self._running().pid

    def poll(self) -> int | None:
        """Return the exit code, or None while the server runs."""
        return self._running().poll()

    def start(self) -> None:
        """Start the server and wait until it accepts clients."""
        self._process = process = self._spawn(self.command())
        wait_until(lambda: process.poll() is not None or self.is_ready(), START_SECONDS)
        if process.poll() is not None or not self.is_ready():
            self.kill()
            raise self._failure("did not start")

    def stop(self) -> None:
        """Shut the server down cleanly; kill it if that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        self._process.send_signal(signal.SIGCONT)  # a test may have frozen it
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server as a crash would."""
        process = self._running()
        process.kill()
        process.wait()

    def restart(self) -> None:
        """Stop the server if it still runs, and start it."""
        self.stop()
        self.start()

    def run_once(self, command: list[str], text: str = "") -> None:
        """Run a command as the server's user, with a text as its input, and wait for its end."""
        process = self._spawn(command, subprocess.PIPE)
        process.communicate(text.encode())
        if process.returncode != 0:
            raise self._failure(f"needs {Path(command[0]).name}, which failed")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise places.ServerError(f"{self.name} was not started")
        return self._process

    def _failure(self, what: str) -> places.ServerError:
        with places.open_own(self.log, os.O_RDONLY) as log:
            tail = log.read().decode(errors="replace")[-LOG_TAIL:]
        return places.ServerError(f"{self.name} {what}; its log, {self.log}, ends with:\n{tail}")

    def _spawn(self, command: list[str], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with places.open_own(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT) as log:
            return subprocess.Popen(  # noqa: S603  # our own arguments; no shell
                tied(command, self.stop_signal, self.account.uid, self.account.gid),
                stdin=stdin,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env={**passed_on, "LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C must not reach a server before its clients are done
            )


class Postgres(ServerProcess):
    """Run one Postgres cluster under `home`, with one database in it."""

    name = "postgres"
    stop_signal = signal.SIGINT  # the fast shutdown: clients are cut off, nothing is lost

    def __init__(self, home: Path, account: places.Account, sockets: Path, *, durable: bool) -> None:
        super().__init__(home, account)
        self.cluster = home / "postgres"
        self.pid_file = self.cluster / "postmaster.pid"
        self.programs = places.postgres_programs(account)
        self.sockets, self.durable = sockets, durable

    def start(self) -> None:
        """Start the cluster; make it first if there is none.

        After a kill, Postgres does not start while backends of the killed one still run: try until they end,
        for LAST_BACKENDS_SECONDS at most.
        """
        if not self.cluster.exists():
            self._initialise()
        stop_orphan(self.pid_file, str(self.home), self.stop_signal)
        end = time.monotonic() + LAST_BACKENDS_SECONDS
        while True:
            try:
                return super().start()
            except places.ServerError as error:
                if STILL_IN_USE not in str(error) or time.monotonic() > end:
                    raise

    def command(self) -> list[str]:
        """Return the command that runs the server."""
        settings = {**SETTINGS, "unix_socket_directories": str(self.sockets)}
        return [str(self.programs / "postgres"), "-D", str(self.cluster), *self._options(settings)]

    def is_ready(self) -> bool:
        """Look for `ready` at the end of the pid file, as `pg_ctl` does."""
        try:
            lines = self.pid_file.read_text().split()
        except FileNotFoundError:
            return False
        return lines[-1:] == ["ready"]

    def _options(self, settings: dict[str, str]) -> list[str]:
        settings = settings if self.durable else settings | UNSAFE_BUT_FAST
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _initialise(self) -> None:
        unfinished = self.home / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        identity = ["--username", USER, "--auth", "trust"]  # only this user can reach the socket
        locale = ["--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        sync = [] if self.durable else ["--no-sync"]
        self.run_once([str(self.programs / "initdb"), "-D", str(unfinished), *identity, *locale, *sync])
        single = [
            str(self.programs / "postgres"),
            "--single",
            "-D",
            str(unfinished),
            *self._options({}),
            "postgres",
        ]
        self.run_once(single, f"CREATE DATABASE {DATABASE}\n")
        unfinished.rename(self.cluster)  # last, so that a half-made cluster is never used


class Valkey(ServerProcess):
    """Run one Valkey with its data under `home`."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, home: Path, account: places.Account, sockets: Path, *, durable: bool) -> None:
        super().__init__(home, account)
        self.program, self.durable = places.valkey_server(account), durable
        self.store = home / "valkey"
        self.pid_file = self.store / "valkey.pid"
        self.socket = sockets / "valkey.sock"

    def start(self) -> None:
        """Start the server, after stopping one that an earlier run has left."""
        self.account.own_directory(self.store)
        stop_orphan(self.pid_file, str(self.socket), self.stop_signal)
        super().start()

    def command(self) -> list[str]:
        """Return the command that runs the server: no port, no eviction, a log of all writes if durable."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.store),
            "pidfile": str(self.pid_file),
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "hz": "2",  # by default it wakes up ten times a second: a fifth of the CPU of an idle `up`
        }
        return [
            str(self.program),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]

    def is_ready(self) -> bool:
        """Ping the server: while it loads its data, it does not answer PONG."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PING_SECONDS)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False


def stop_orphan(pid_file: Path, path: str, stop_signal: signal.Signals) -> None:
    """Stop the process of a pid file if its command line has `path`; remove the file.

    The caller holds the directory's lock, so the `up` that started the server has ended. In a restarted
    container, another program may have the pid by now, but its command line does not have the path. Raises
    ServerError if the process does not stop.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        pid = None
    if pid and path in _command_line(pid):
        os.kill(pid, stop_signal)
        if not wait_until(lambda: path not in _command_line(pid), ORPHAN_SECONDS):
            raise places.ServerError(
                f"a server of an earlier run (process {pid}) does not stop; end it, then try again"
            )
    pid_file.unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    """Return the command line of a process; an empty text if the process is dead, or a zombie."""
    if Path("/proc/self").exists():  # slim images have no `ps`
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""
    ask = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(ask, capture_output=True, text=True, check=False).stdout  # noqa: S603  # fixed arguments
