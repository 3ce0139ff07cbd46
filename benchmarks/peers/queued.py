"""PgQueuer, a queue in Postgres: the payload is the job; the work is our own replay."""

import asyncio
import sys

import psycopg
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver, SyncPsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import SyncQueries
from psycopg_pool import ConnectionPool

from benchmarks.peers.synchronous import accept
from benchmarks.peers.web import serve, settings
from benchmarks.servers import libpq

ADDRESS = libpq(settings.database_url)


async def work() -> None:
    """Run a worker; not by `pgq run`, which in 1.6 rejects its own `--log-level` with the present typer."""
    queue = PgQueuer(PsycopgDriver(await psycopg.AsyncConnection.connect(ADDRESS, autocommit=True)))

    @queue.entrypoint("finalize")  # type: ignore[untyped-decorator]  # types are checked without this package
    async def finalize(job: Job) -> None:
        await asyncio.to_thread(accept, job.payload or b"")

    await queue.run()


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        asyncio.run(work())
    with ConnectionPool(ADDRESS, kwargs={"autocommit": True}, max_size=8, open=True) as pool:

        def send(body: bytes) -> None:
            """Queue an upload."""
            with pool.connection() as connection:
                SyncQueries(SyncPsycopgDriver(connection)).enqueue("finalize", body)

        serve(send)
