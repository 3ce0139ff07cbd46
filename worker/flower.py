"""Run Flower read-only, with a login, and with a list of tasks that survives a restart of Flower.

Flower's own FLOWER_* variables can replace our defaults, but a login is always required.
"""

import os
import stat
import sys
from pathlib import Path

from shared import broker, logs
from shared.config import BrokerSettings, flower_logins, load_settings
from shared.errors import ConfigurationError
from shared.ownership import first_open_to_others

DEFAULTS = {
    "FLOWER_UNAUTHENTICATED_API": "false",
    "FLOWER_READ_ONLY": "true",
    "FLOWER_ADDRESS": "127.0.0.1",
    "FLOWER_PERSISTENT": "true",
    "FLOWER_DB": "flower.db",
    # Milliseconds between two saves; a killed Flower loses what came after the last save. Each save writes
    # all tasks: so their number is limited below.
    "FLOWER_STATE_SAVE_INTERVAL": "60000",
    "FLOWER_MAX_TASKS": "10000",
    # The workers send events by themselves; Flower does not have to ask for them.
    "FLOWER_ENABLE_EVENTS": "false",
}


def require_private(state: Path) -> None:
    """Raise ConfigurationError if other users can change the files of Flower's state.

    The files are pickles: reading one runs the code in it.
    """
    files = [each for each in state.parent.glob(f"{state.name}*") if not _is_own(each.lstat())]
    if path := first_open_to_others(state.parent, os.geteuid()) or next(iter(files), None):
        raise ConfigurationError(
            f"FLOWER_DB: another user could run code in Flower, as {path} is a link, is theirs, or can be"
            " written by them: replace a link by a file, correct the owner and the mode, or set another path"
        )


def _is_own(found: os.stat_result) -> bool:
    is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    return is_ours and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def main() -> None:
    """Run Flower until a signal stops it; exit at once if a setting is missing or wrong."""
    for name, value in DEFAULTS.items():
        os.environ[name] = os.environ.get(name) or value
    try:
        settings = load_settings(BrokerSettings)
        os.environ["FLOWER_BASIC_AUTH"] = ",".join(flower_logins(os.environ.get("FLOWER_BASIC_AUTH", "")))
        if os.environ["FLOWER_PERSISTENT"].lower() == "true":
            require_private(Path(os.environ["FLOWER_DB"]).absolute())
    except ConfigurationError as error:
        sys.exit(f"study-ingest: {error}")
    os.umask(0o077)
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # Flower's own metrics are not ours
    os.environ.pop("BROKER_URL", None)  # Celery's command would prefer the unchanged URL to the app's
    logs.configure_logs()
    broker.make_celery(settings, worker=True).start(["flower"])


if __name__ == "__main__":
    main()
