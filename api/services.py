"""What a web process holds from its start to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flask import Flask, current_app

from api.publisher import Doorbell
from api.store import ARRIVALS_LOCK_SHARE, Breaker, Intake, Recorder
from shared.broker import make_celery
from shared.config import Settings
from shared.db import make_engine
from shared.spool import connect

_KEY = "study_ingest"
# The recorder's readers, and its writers for the live side; beside the one connection for arrivals.
CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Edge:
    """Give requests the settings, the clock, the recorder, the way in and the doorbell."""

    settings: Settings
    clock: Callable[[], datetime]
    recorder: Recorder
    intake: Intake
    doorbell: Doorbell


def install_edge(app: Flask, settings: Settings, clock: Callable[[], datetime]) -> None:
    """Make what requests need; it opens no connection yet."""
    engine = make_engine(settings, pool_size=CONNECTIONS, pre_ping=True)
    pause = settings.store_pause
    lock_timeout = settings.store_deadline * ARRIVALS_LOCK_SHARE
    recorder = Recorder(
        engine,
        make_engine(settings.model_copy(update={"lock_timeout": lock_timeout}), autocommit=True),
        deadline=settings.store_deadline,
        first_try_after=settings.first_try_after,
        breaker=Breaker(pause, "postgres"),
    )
    spool = connect(settings.redis_url) if settings.redis_url else None
    app.extensions[_KEY] = Edge(
        settings,
        clock,
        recorder,
        Intake(recorder, spool, pause=pause),
        Doorbell(make_celery(settings), pause=settings.ring_pause, high_water=settings.high_water),
    )


def edge() -> Edge:
    """Return what the application of the current request holds."""
    found: Edge = current_app.extensions[_KEY]
    return found
