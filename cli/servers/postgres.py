"""The embedded Postgres."""

import shutil
import signal
import time
from pathlib import Path

import psycopg

from cli.servers.account import Account
from cli.servers.errors import ServerError
from cli.servers.orphan import stop_orphan
from cli.servers.process import ServerProcess

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
