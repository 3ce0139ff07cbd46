"""A Postgres and its hot standby, for a test; the standby has every commit that the primary acknowledged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from cli.local.places import account_for, make_servers_directory, socket_directory
from cli.local.servers import DATABASE, PORT, USER, Postgres, Servers
from tests.processes import until

SYNCHRONOUS = "ALTER SYSTEM SET synchronous_standby_names = '*'"
STREAMS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


def url(*servers: Postgres, options: str = "") -> str:
    """Return a URL of several servers, in libpq's form; each host is the directory of a server's sockets."""
    hosts = ",".join(f"{str(server.sockets).replace('/', '%2F')}:{PORT}" for server in servers)
    return f"postgresql://{USER}@{hosts}/{DATABASE}{options}"


def at(directory: Path) -> Postgres:
    """Return a server with its files in a directory; it has no cluster yet."""
    account = account_for(directory)
    home = make_servers_directory(directory, account)
    return Postgres(home, account, socket_directory(home, account), durable=True)


def attach(primary: Postgres, standby: Postgres) -> None:
    """Start `standby` as a standby of `primary`; then each commit of `primary` waits for `standby`."""
    program = str(standby.programs / "pg_basebackup")
    standby.run_once([program, "-d", url(primary), "-D", str(standby.cluster), "-R", "-c", "fast"])
    standby.start()
    with psycopg.connect(url(primary), autocommit=True) as connection:
        connection.execute(SYNCHRONOUS)
        connection.execute("SELECT pg_reload_conf()")
        until(lambda: connection.execute(STREAMS).fetchone() == (1,), "the standby keeps up")


def promote(standby: Postgres) -> None:
    with psycopg.connect(url(standby), autocommit=True) as connection:
        assert connection.execute("SELECT pg_promote()").fetchone() == (True,)


@dataclass(frozen=True)
class Pair:
    primary: Postgres
    standby: Postgres


@contextmanager
def pair(home: Path) -> Iterator[Pair]:
    with Servers(home / "primary", durable=True, valkey=False) as servers:
        standby = at(home / "standby")
        try:
            attach(servers.postgres, standby)
            yield Pair(servers.postgres, standby)
        finally:
            standby.stop()
