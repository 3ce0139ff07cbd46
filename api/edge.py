"""What a web process holds from its start to its end."""

from dataclasses import dataclass

from flask import Flask, current_app

from api.doorbell import Doorbell
from api.recorder import Recorder
from shared.config import Settings
from shared.db import make_engine
from shared.queue import make_celery

_KEY = "study_ingest"
# The recorder's one writer and its readers.
CONNECTIONS = 3


@dataclass(frozen=True, slots=True)
class Edge:
    """Give requests the settings, the recorder and the doorbell."""

    settings: Settings
    recorder: Recorder
    doorbell: Doorbell


def install_edge(app: Flask, settings: Settings) -> None:
    """Make what requests need; it opens no connection yet."""
    engine = make_engine(settings, pool_size=CONNECTIONS, pre_ping=True)
    app.extensions[_KEY] = Edge(
        settings,
        Recorder(engine, deadline=settings.store_deadline, first_try_after=settings.first_try_after),
        Doorbell(make_celery(settings), pause=settings.ring_pause, high_water=settings.high_water),
    )


def edge() -> Edge:
    """Return what the application of the current request holds."""
    found: Edge = current_app.extensions[_KEY]
    return found
