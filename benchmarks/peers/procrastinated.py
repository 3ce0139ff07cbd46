"""Procrastinate, a queue in Postgres: the payload is the job's argument; the work is our own replay."""

import procrastinate

from benchmarks.peers.synchronous import accept
from benchmarks.peers.web import serve, settings
from benchmarks.servers import libpq

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=libpq(settings.database_url)))


@app.task(name="finalize")  # type: ignore[untyped-decorator]  # types are checked without this package
def finalize(body: str) -> None:
    """Record an upload and replay it."""
    accept(body.encode())


def defer(body: bytes) -> None:
    """Queue an upload."""
    finalize.defer(body=body.decode())


if __name__ == "__main__":
    with app.open():
        serve(defer)
