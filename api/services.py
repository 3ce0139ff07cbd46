"""Services that all requests outside of `/ops` share: settings, clock, senders, stores and publisher."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from flask import Flask, current_app
from sqlalchemy import Connection

from api.auth import Senders
from api.publisher import Publisher
from api.store import Breaker, Store, UploadStore
from shared import broker, db, spool
from shared.config import Settings

_KEY = "study_ingest"
SYSTEM_CLOCK = partial(datetime.now, UTC)
# Each thread holds a connection to Postgres.
LIVE_THREADS = 4
# Enough for a part of a catalog, or for a correction that grades thousands of answers again.
CATALOG_DEADLINE_S = 30.0
# Limits for a lock and for a statement, as parts of the deadline: a thread and its connection must be free
# when their request gives up.
LOCK_SHARE = 0.7
STATEMENT_SHARE = 0.9
# A batch may wait for a lock as a whole, and then again when its uploads are committed one by one: both waits
# together must be shorter than the deadline.
BATCH_LOCK_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, the database's clock, the check of senders, three stores in Postgres, and the publisher.

    `uploads` records uploads, `catalog` serves the routes below /catalog, `live` the other routes; `/ops` has
    a store of its own (api/ops/store.py). Each store has its own connections and breaker, so that nothing
    else delays uploads. `stopping` is set once the process has been asked to end.
    """

    settings: Settings
    now: Callable[[Connection], datetime]
    senders: Senders
    uploads: UploadStore
    live: Store
    catalog: Store
    publisher: Publisher
    stopping: threading.Event = field(default_factory=threading.Event)


def install_services(app: Flask, settings: Settings, clock: Callable[[], datetime] | None) -> None:
    """Make the services of an application, but open no connection yet.

    `clock` replaces Postgres' clock in `now`, and this host's clock in `senders`.
    """
    now = (lambda _connection: clock()) if clock else db.now
    senders = Senders(settings, clock or SYSTEM_CLOCK)

    def store(threads: int, breaker: str, deadline: float = settings.store_deadline) -> Store:
        engine = db.make_engine(
            settings.model_copy(update={"lock_timeout": deadline * LOCK_SHARE}),
            pool_size=threads,
            pre_ping=True,
            statement_limit=deadline * STATEMENT_SHARE,
        )
        return Store(engine, breaker, deadline=deadline, threads=threads)

    brief = settings.model_copy(update={"lock_timeout": settings.store_deadline * BATCH_LOCK_SHARE})
    uploads = UploadStore(
        store(1, "uploads"),
        db.make_engine(brief, autocommit=True),
        first_try_after=settings.first_try_after,
        spool=spool.connect(settings.redis_url, spool.PROCESS_TIMEOUT_S) if settings.redis_url else None,
        spool_breaker=Breaker(settings.store_pause, "spool"),
    )
    publisher = Publisher(
        broker.make_celery(settings), pause=settings.enqueue_pause, queue_limit=settings.queue_limit
    )
    live, catalog = store(LIVE_THREADS, "live"), store(1, "catalog", CATALOG_DEADLINE_S)
    app.extensions[_KEY] = Services(settings, now, senders, uploads, live, catalog, publisher)


def services() -> Services:
    """Return the services of the application that handles the current request."""
    found: Services = current_app.extensions[_KEY]
    return found
