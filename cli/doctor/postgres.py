"""Whether Postgres answers, is migrated, and keeps the time; how long its oldest upload waits."""

import time
from collections.abc import Iterator

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

import migrations
from cli.doctor.clock import clock
from cli.doctor.finding import Finding, fail, ok
from shared import health
from shared.broker import SWEEP
from shared.config import Settings
from shared.db import make_engine

# A system that works has rung so often for what it could not finish; a backlog's end may wait as long.
RINGS = 10
_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")
_OLDEST = text("""
    SELECT extract(epoch FROM now() - min(received_at))::float8 FROM uploads WHERE status = 'received'
""")


def look_at_postgres(settings: Settings) -> Iterator[Finding]:
    """Look at everything that Postgres can tell."""
    engine = make_engine(settings)
    try:
        with engine.connect() as connection:
            yield ok("postgres", "answers")
            yield _clock(connection)
            yield (migrated := _migrations(settings))
            if migrated.level == "ok":
                yield _oldest(connection, settings)
    except DBAPIError as error:
        # Several addresses of one host fail in a line each.
        said = str(error.orig).strip().replace("\n", "; ")
        yield fail("postgres", said, "start Postgres, or mend host, user, password or name in DATABASE_URL")
    finally:
        engine.dispose()


def seconds_since_sweep(settings: Settings) -> float | None:
    """Return how long ago a sweep began; None if none did, or Postgres cannot tell."""
    engine = make_engine(settings)
    try:
        with engine.connect() as connection:
            return health.age(connection, SWEEP)
    except DBAPIError:
        return None  # why, has been found above
    finally:
        engine.dispose()


def _clock(connection: Connection) -> Finding:
    connection.scalar(_NOW)  # the first statement also waits for what the driver asks
    before = time.time()
    theirs: float = connection.scalar(_NOW)
    return clock("postgres", theirs, before, time.time())


def _migrations(settings: Settings) -> Finding:
    try:
        pending = migrations.pending(settings.database_url)
    except migrations.MigrationError as error:
        return fail("migrations", str(error), "run the version of study-ingest that migrated the database")
    if pending:
        return fail("migrations", f"{len(pending)} pending: {', '.join(pending)}", "study-ingest migrate")
    return ok("migrations", "none pending")


def _oldest(connection: Connection, settings: Settings) -> Finding:
    seconds: float | None = connection.scalar(_OLDEST)
    said = "no upload waits" if seconds is None else f"the oldest upload waits since {seconds:.0f} s"
    if (seconds or 0) <= settings.first_try_after + RINGS * settings.ring_every:
        return ok("waiting uploads", said)
    mend = "mend what else fails here; else start more workers, or read uploads.last_error"
    return fail("waiting uploads", said, mend)
