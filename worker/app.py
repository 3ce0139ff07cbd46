"""The process edge of the workers: settings, Celery and the engine of each child."""

import gc
import logging
import sys
from functools import cache
from typing import Any

from celery import signals
from sqlalchemy import Engine

from shared.broker import make_celery
from shared.config import Settings, load_settings
from shared.db import make_engine
from shared.errors import ConfigurationError
from shared.logs import configure_logs

try:
    settings = load_settings(Settings)
except ConfigurationError as error:
    sys.exit(f"study-ingest: {error}")

app = make_celery(settings, worker=True)
app.conf.imports = ["worker.tasks"]


@cache
def engine() -> Engine:
    """Return this process' engine; made at its first use, which is after the fork."""
    return make_engine(settings)


@signals.setup_logging.connect(weak=False)
def _set_logs_up(loglevel: int, **_: Any) -> None:
    configure_logs()
    # Its option, by default WARNING, is for its own lines: else ours would be lost, or two more come each.
    logging.getLogger("celery").setLevel(loglevel)


@signals.worker_init.connect(weak=False)
def _share_memory(**_: Any) -> None:
    """Keep what is loaded out of the garbage collector, whose marks would copy it into each child."""
    gc.collect()
    gc.freeze()
