"""What a web process holds from its start to its end, and every request uses."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flask import Flask, current_app

from api.publisher import Publisher
from api.store import Breaker, Store, UploadStore
from shared.broker import make_celery
from shared.config import Settings
from shared.db import make_engine
from shared.spool import connect

_KEY = "study_ingest"
# Each has a connection to Postgres.
LIVE_THREADS = 4
# Shorter than the deadline, so that a thread and its connection are free when their request has given up.
LOCK_SHARE = 0.7
STATEMENT_SHARE = 0.9
# A batch waits for a lock, and then the one upload of it that needs the lock: both within the deadline.
BATCH_LOCK_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Services:
    """Give requests the settings, the clock, two ways to Postgres, and the broker.

    `uploads` takes them in; `live` is for all else that viewers and the front end ask. Each has connections
    and a breaker of its own: whatever holds up the live side, uploads are taken in.
    """

    settings: Settings
    clock: Callable[[], datetime]
    uploads: UploadStore
    live: Store
    publisher: Publisher


def install_services(app: Flask, settings: Settings, clock: Callable[[], datetime]) -> None:
    """Make the services of an application; this opens no connection yet."""
    deadline, pause = settings.store_deadline, settings.store_pause

    def store(threads: int, breaker: str) -> Store:
        limits = {"lock_timeout": deadline * LOCK_SHARE, "task_time_limit": deadline * STATEMENT_SHARE}
        engine = make_engine(settings.model_copy(update=limits), pool_size=threads, pre_ping=True)
        return Store(engine, Breaker(pause, breaker), deadline=deadline, threads=threads)

    brief = settings.model_copy(update={"lock_timeout": deadline * BATCH_LOCK_SHARE})
    uploads = UploadStore(
        store(1, "uploads"),
        make_engine(brief, autocommit=True),
        first_try_after=settings.first_try_after,
        spool=connect(settings.redis_url) if settings.redis_url else None,
        breaker=Breaker(pause, "spool"),
    )
    publisher = Publisher(
        make_celery(settings), pause=settings.enqueue_pause, queue_limit=settings.queue_limit
    )
    app.extensions[_KEY] = Services(settings, clock, uploads, store(LIVE_THREADS, "live"), publisher)


def services() -> Services:
    """Return the services of the application that handles the current request."""
    found: Services = current_app.extensions[_KEY]
    return found
