"""Flower, closed unless told otherwise: `python -m worker.flower`."""

import os
import sys
from collections.abc import Mapping

from shared.config import Settings
from worker.app import app, settings

# What a killed Flower forgets. All of it is written anew each time: hence no more tasks than these.
SAVE_EVERY_MS = 60_000
MAX_TASKS = 10_000


def options(settings: Settings) -> Mapping[str, str]:
    """Say how Flower is started, as its own environment variables: on a command line all could read them."""
    return {
        "FLOWER_BASIC_AUTH": ",".join(settings.flower_logins),
        "FLOWER_UNAUTHENTICATED_API": "false",
        "FLOWER_READ_ONLY": "false" if settings.flower_read_write else "true",
        "FLOWER_ADDRESS": settings.flower_address,
        "FLOWER_PORT": str(settings.flower_port),
        "FLOWER_PERSISTENT": "true",
        "FLOWER_DB": settings.flower_db,
        "FLOWER_STATE_SAVE_INTERVAL": str(SAVE_EVERY_MS),
        "FLOWER_MAX_TASKS": str(MAX_TASKS),
        # Else it would ask the sweeper too to tell of every task: idle, they would fill it in hours.
        "FLOWER_ENABLE_EVENTS": "false",
        "METRICS_DIR": "",  # its own metrics are not ours
    }


def main() -> None:
    """Run Flower until it is told to stop; exit at once where no login is set."""
    if not settings.flower_logins:
        sys.exit("study-ingest: FLOWER_BASIC_AUTH: must be set, name:password; without it all could look")
    os.umask(0o077)  # what it remembers is a pickle: who could write to it would run code
    os.environ.update(options(settings))
    app.start(["flower"])


if __name__ == "__main__":
    main()
