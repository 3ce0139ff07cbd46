"""A Postgres and a hot standby of it, for a test; the standby has all that the primary has acknowledged."""

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
    """Name servers in libpq's form for several hosts; their sockets' directories are their hosts."""
    hosts = ",".join(f"{str(server.sockets).replace('/', '%2F')}:{PORT}" for server in servers)
    return f"postgresql://{USER}@{hosts}/{DATABASE}{options}"


@dataclass(frozen=True)
class Pair:
    primary: Postgres
    standby: Postgres

    def promote(self) -> None:
        with psycopg.connect(url(self.standby), autocommit=True) as connection:
            assert connection.execute("SELECT pg_promote()").fetchone() == (True,)


@contextmanager
def pair(home: Path) -> Iterator[Pair]:
    with Servers(home / "primary", durable=True, valkey=False) as servers:
        primary, directory = servers.postgres, home / "standby"
        account = account_for(directory)
        place = make_servers_directory(directory, account)
        standby = Postgres(place, account, socket_directory(place, account), durable=True)
        program = str(standby.programs / "pg_basebackup")
        standby.run_once([program, "-d", url(primary), "-D", str(standby.cluster), "-R", "-c", "fast"])
        standby.start()
        try:
            with psycopg.connect(url(primary), autocommit=True) as connection:
                connection.execute(SYNCHRONOUS)
                connection.execute("SELECT pg_reload_conf()")
                until(lambda: connection.execute(STREAMS).fetchone() == (1,), "the standby keeps up")
            yield Pair(primary, standby)
        finally:
            standby.stop()
