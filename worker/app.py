"""The process edge of workers, sweeper and beat."""

import sys
from functools import cache
from typing import Any

from celery import signals
from sqlalchemy import Engine

from shared.config import Settings, load_settings
from shared.db import make_engine
from shared.errors import ConfigurationError
from shared.logs import configure_logs
from shared.queue import SWEEP, make_celery

try:
    settings = load_settings(Settings)
except ConfigurationError as error:
    sys.exit(f"study-ingest: {error}")

app = make_celery(settings, worker=True)
app.conf.update(
    imports=["worker.tasks"],
    beat_schedule={
        "sweep": {
            "task": SWEEP,
            "schedule": settings.sweep_every,
            # Sweeps that pile up while nobody sweeps are worth no more than one.
            "options": {"expires": settings.sweep_every},
        }
    },
)


@cache
def engine() -> Engine:
    """Return this process' engine; made at its first use, which is after the fork."""
    return make_engine(settings)


@signals.setup_logging.connect(weak=False)
def _set_logs_up(loglevel: int, **_: Any) -> None:
    configure_logs(loglevel)
