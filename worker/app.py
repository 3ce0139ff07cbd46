"""The parts of a worker process: its settings, its Celery app and the engine of each child."""

import gc
import logging
import os
import sys
from functools import cache
from typing import Any

from celery import signals
from sqlalchemy import Engine

from shared import broker, db, logs
from shared.config import Settings, load_settings
from shared.data_settings import compare_at_start
from shared.errors import ConfigurationError
from worker import consumer

logs.configure_logs()
try:
    settings = load_settings(Settings)
    compare_at_start(settings)
except ConfigurationError as error:
    sys.exit(f"study-ingest: {error}")

# Celery's command sets this variable to the unchanged BROKER_URL, and prefers the variable to the app's URL.
os.environ.pop("CELERY_BROKER_URL", None)
app = broker.make_celery(settings, worker=True)
app.conf.imports = ["worker.tasks"]
consumer.install(app)


@cache
def engine() -> Engine:
    """Return this process' engine, which is made at the first call: after the fork."""
    return db.make_engine(settings)


@signals.setup_logging.connect(weak=False)
def _set_level(loglevel: int, **_: Any) -> None:
    # The level of Celery's command line, by default WARNING, applies to Celery's own lines only. Celery
    # does not set up logging if a function is connected to this signal.
    logging.getLogger("celery").setLevel(loglevel)


@signals.worker_init.connect(weak=False)
def _share_memory(**_: Any) -> None:
    """Exclude loaded objects from garbage collection, which writes to them: each child would copy them."""
    gc.collect()
    gc.freeze()
