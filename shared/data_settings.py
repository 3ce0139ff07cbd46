"""The settings that decide about data are kept in the database: every host and every command decides alike.

The first process that has such a setting records it; from then on the database's holds, also for those that
do not have it, and one that has another does not start.
"""

import threading

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from shared import db
from shared.config import StoreSettings
from shared.errors import ConfigurationError
from shared.failures import describe

log = structlog.get_logger()

# A start waits no longer for Postgres.
PATIENCE_S = 3.0

# So far the only one. A change moves the study dates of later answers alone.
ZONE = "study_time_zone"

_READ = text("SELECT value FROM data_settings WHERE name = :name")

IS_SET = text("SELECT EXISTS (SELECT FROM data_settings WHERE name = 'study_time_zone')")

_RECORD = text("""
    INSERT INTO data_settings (name, value) VALUES (:name, :value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE :replace
""")


def compare(connection: Connection, settings: StoreSettings) -> str:
    """Return the time zone of learners who have none: the database's, or, before there is one, ours.

    Raises ConfigurationError where STUDY_TIME_ZONE is set to another than the database's.
    """
    ours, stored = settings.study_time_zone, db.scalar(connection, _READ, {"name": ZONE})
    if stored not in {None, ours} and ZONE in settings.model_fields_set:
        raise ConfigurationError(
            f"STUDY_TIME_ZONE: is {ours} here, but {stored} in the database: set it to that, or unset it;"
            f" to change it for later answers: study-ingest migrate --time-zone {ours}"
        )
    return stored or ours


def adopt(connection: Connection, settings: StoreSettings) -> None:
    """Record the settings that are set, if they are the first; raise as `compare` does."""
    if ZONE in settings.model_fields_set:
        record_zone(connection, settings.study_time_zone, replace=False)
    compare(connection, settings)


def record_zone(connection: Connection, zone: str, *, replace: bool) -> None:
    """Record the time zone of learners who have none of their own."""
    db.execute(connection, _RECORD, {"name": ZONE, "value": zone, "replace": replace})


def compare_at_start(settings: StoreSettings) -> None:
    """Adopt the settings when a process starts; where Postgres is away or not migrated, go on without it.

    Raises ConfigurationError as `adopt` does.
    """
    wrong: list[ConfigurationError] = []

    def compare() -> None:
        engine = db.make_engine(settings)
        try:
            with engine.begin() as connection:
                adopt(connection, settings)
        except ConfigurationError as error:
            wrong.append(error)
        except DBAPIError as error:
            log.warning("settings.not_compared", error=describe(error))
        finally:
            engine.dispose()

    # On a thread of its own: no timeout ends the wait for a Postgres that is stopped.
    thread = threading.Thread(target=compare, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if wrong:
        raise wrong[0]
