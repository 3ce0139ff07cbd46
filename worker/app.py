"""The process edge of workers, sweeper and beat."""

import logging
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from celery import signals
from celery.schedules import schedule
from redis import Redis
from sqlalchemy import Engine

from shared.broker import DRAIN, FOLLOWUPS, SWEEP, make_celery
from shared.config import Settings, load_settings
from shared.db import make_engine
from shared.errors import ConfigurationError
from shared.logs import configure_logs
from shared.spool import connect

try:
    settings = load_settings(Settings)
except ConfigurationError as error:
    sys.exit(f"study-ingest: {error}")

app = make_celery(settings, worker=True)

# Bounds what piles up while nobody sweeps. Stamped by beat's clock and judged by the sweeper's: two hosts
# differ by less, or every sweep would be too old on arrival.
_EXPIRES_S = 3600.0
_STARTED = datetime.now(UTC) - timedelta(seconds=time.monotonic())


def _steady_now() -> datetime:
    """Tell a time that is never put back: beat would send nothing until it had caught up."""
    return _STARTED + timedelta(seconds=time.monotonic())


def _every(seconds: float, task: str) -> dict[str, Any]:
    steady = schedule(seconds, nowfun=_steady_now)
    return {"task": task, "schedule": steady, "options": {"expires": _EXPIRES_S}}


app.conf.update(
    imports=["worker.tasks", "worker.followups"],
    beat_schedule={
        "sweep": _every(settings.sweep_every, SWEEP),
        "followups": _every(settings.followup_every, FOLLOWUPS),
    },
)
if settings.redis_url:
    app.conf.beat_schedule["drain"] = _every(settings.sweep_every, DRAIN)


@cache
def engine() -> Engine:
    """Return this process' engine; made at its first use, which is after the fork."""
    return make_engine(settings)


@cache
def redis() -> Redis:
    """Return this process' connection to the spool."""
    return connect(settings.redis_url)


@signals.setup_logging.connect(weak=False)
def _set_logs_up(loglevel: int, **_: Any) -> None:
    configure_logs()
    # Its option, by default WARNING, is for its own lines: else ours would be lost, or two more come a ring.
    logging.getLogger("celery").setLevel(loglevel)
