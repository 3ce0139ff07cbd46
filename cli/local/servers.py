"""One server process and its log."""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

import psycopg

from cli.local.pdeathsig import leashed
from cli.local.places import Account, ServerError
from cli.local.supervisor import wait_until

ORPHAN_SECONDS = 30.0  # a server that writes a last checkpoint to a slow disk


def stop_orphan(pid_file: Path, place: str, stop_signal: signal.Signals) -> None:
    """Stop the server of a pid file where it still runs in `place`; else remove the file.

    The caller holds the directory's lock, so such a server has lost its run. A pid may by now be another
    program's (a restarted container): that one is left alone.
    """
    pid = _read_pid(pid_file)
    if pid and place in _arguments(pid):
        os.kill(pid, stop_signal)
        if not wait_until(lambda: place not in _arguments(pid), ORPHAN_SECONDS):
            raise ServerError(f"a server of an earlier run (process {pid}) does not stop")
    pid_file.unlink(missing_ok=True)


def _read_pid(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _arguments(pid: int) -> str:
    """Read a process's command line; empty for a dead one, a zombie included."""
    if Path("/proc/self").exists():  # slim images have no `ps`
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""
    ask = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(ask, capture_output=True, text=True, check=False).stdout  # noqa: S603  # fixed words


START_SECONDS = 60.0  # recovery after a crash, on a slow disk
STOP_SECONDS = 20.0
LOG_TAIL = 1500  # characters: the last screenful
PASSED_ON = ("PATH", "LD_LIBRARY_PATH")  # of our environment: neither tokens nor PGPORT


class ServerProcess(ABC):
    """Start, stop, kill and restart one server.

    Start it from a thread that outlives it: on Linux it stops when that thread ends.
    """

    name: str
    stop_signal: signal.Signals

    def __init__(self, home: Path, account: Account) -> None:
        self.home = home
        self.account = account
        self.log = home / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Say how the server is started, in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Ask the server whether it serves."""

    @property
    def pid(self) -> int:
        """Tell the process id, for faults of a test's own making (SIGSTOP, SIGKILL)."""
        return self._running().pid

    def start(self) -> None:
        """Start the server and wait until it serves."""
        self._process = self._spawn(self.command())
        ended = self._process.poll
        if (
            not wait_until(lambda: ended() is not None or self.is_ready(), START_SECONDS)
            or ended() is not None
        ):
            self.kill()
            raise self.failure("did not start")

    def stop(self) -> None:
        """Shut the server down in order; kill one that does not answer."""
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
        """Start the server again, after stopping it where it still runs."""
        self.stop()
        self.start()

    def run_once(self, command: list[str]) -> None:
        """Run a command as the server's user and wait for its end."""
        if self._spawn(command).wait() != 0:
            raise self.failure(f"failed to run {Path(command[0]).name}")

    def failure(self, what: str) -> ServerError:
        """Word a failure with the end of the log."""
        tail = self.log.read_text(errors="replace")[-LOG_TAIL:]
        return ServerError(f"{self.name} {what}; its log, {self.log}, ends with:\n{tail}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self.name} was not started")
        return self._process

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own words and paths; no shell
                leashed(command, self.stop_signal, self.account.uid, self.account.gid),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env={**passed_on, "LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C must not reach a server before its clients are done
            )


USER, DATABASE = "study", "study_ingest"
PORT = 5432  # names the socket; said aloud, or PGPORT in somebody's environment would
SETTINGS = {
    "listen_addresses": "",  # unix socket only: nothing to guess, nothing in the way of another server
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "max_connections": "200",  # room for web threads, workers and a crowd of test clients
    "shared_buffers": "64MB",
    "log_error_verbosity": "terse",  # DETAIL quotes rows, which hold learners' answers
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",  # as do statements, where values are written into them
}
STILL_IN_USE = "pre-existing shared memory block"
LAST_BACKENDS_SECONDS = 20.0  # a statement of ours that runs longer is stuck
UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(ServerProcess):
    """Run one Postgres cluster under `home` and keep a database in it."""

    name = "postgres"
    stop_signal = signal.SIGINT  # the fast shutdown: clients are cut off, nothing is lost

    def __init__(self, home: Path, account: Account, programs: Path, sockets: Path, *, durable: bool) -> None:
        super().__init__(home, account)
        self.cluster = home / "postgres"
        self.programs, self.sockets, self.durable = programs, sockets, durable

    @property
    def url(self) -> str:
        """Say where the database is, as libpq and SQLAlchemy both read it."""
        return f"postgresql://{USER}@:{PORT}/{DATABASE}?host={self.sockets}"

    def start(self) -> None:
        """Start the cluster, made first where there is none."""
        if not self.cluster.exists():
            self._initialise()
        stop_orphan(self.cluster / "postmaster.pid", str(self.home), self.stop_signal)
        self._start_once_alone()
        self._create_database()

    def command(self) -> list[str]:
        """Say how the server is started."""
        settings = {**SETTINGS, "unix_socket_directories": str(self.sockets)}
        settings |= {} if self.durable else UNSAFE_BUT_FAST
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.cluster), *options]

    def is_ready(self) -> bool:
        """Try to connect."""
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        unfinished = self.home / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        identity = ["--username", USER, "--auth", "trust"]  # the sockets' directory is the guard
        locale = ["--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        sync = [] if self.durable else ["--no-sync"]
        self.run_once([str(self.programs / "initdb"), "-D", str(unfinished), *identity, *locale, *sync])
        unfinished.rename(self.cluster)  # a half-made cluster is never taken for a good one

    def _start_once_alone(self) -> None:
        """Start as soon as the busy backends of a killed server have noticed; till then it refuses to."""
        end = time.monotonic() + LAST_BACKENDS_SECONDS
        while True:
            try:
                return super().start()
            except ServerError as error:
                if STILL_IN_USE not in str(error) or time.monotonic() > end:
                    raise

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.sockets),
            port=PORT,
            user=USER,
            dbname="postgres",
            autocommit=True,
            connect_timeout=2,
        )

    def _create_database(self) -> None:
        with self._connect() as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")


PING_SECONDS = 1.0


class Valkey(ServerProcess):
    """Run one Valkey that keeps its items under `home`."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, home: Path, account: Account, program: Path, sockets: Path, *, durable: bool) -> None:
        super().__init__(home, account)
        self.program, self.durable = program, durable
        self.store = home / "valkey"
        self.pid_file = self.store / "valkey.pid"
        self.socket = sockets / "valkey.sock"

    @property
    def broker_url(self) -> str:
        """Say where Celery's queues are, in kombu's form."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def redis_url(self) -> str:
        """Say where the spool is, in redis-py's form: not in the broker's database, which may be purged."""
        return f"unix://{self.socket}?db=1"

    def start(self) -> None:
        """Start the server."""
        self.account.own_directory(self.store)
        stop_orphan(self.pid_file, str(self.socket), self.stop_signal)
        super().start()

    def command(self) -> list[str]:
        """Say how the server is started: no port, nothing evicted, every write in the append-only file."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.store),
            "pidfile": str(self.pid_file),
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [
            str(self.program),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]

    def is_ready(self) -> bool:
        """Ping it; while it loads its file it does not pong."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PING_SECONDS)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False
