"""PgQueuer, a queue in Postgres: the payload is the job, the work our own replay."""

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


async def worker() -> PgQueuer:
    """Make a worker: `pgq run benchmarks.peers.queued:worker`."""
    queue = PgQueuer(PsycopgDriver(await psycopg.AsyncConnection.connect(ADDRESS, autocommit=True)))

    @queue.entrypoint("finalize")  # type: ignore[untyped-decorator]  # types are checked without it
    def finalize(job: Job) -> None:
        accept(job.payload or b"")

    return queue


if __name__ == "__main__":
    with ConnectionPool(ADDRESS, kwargs={"autocommit": True}, max_size=8, open=True) as pool:

        def send(body: bytes) -> None:
            """Queue an upload."""
            with pool.connection() as connection:
                SyncQueries(SyncPsycopgDriver(connection)).enqueue("finalize", body)

        serve(send)
