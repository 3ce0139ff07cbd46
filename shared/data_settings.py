"""Settings on which stored results depend are stored, too, so that all hosts and commands agree.

The first process with such a setting stores it, and only `migrate --time-zone` replaces it. The stored value
applies to all processes, also to those without the setting. A process with another value refuses to start. If
Postgres fails or is too slow while a process compares the two values, the process starts with a warning.
"""

import threading

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from shared import db, zones
from shared.config import StoreSettings
from shared.errors import ConfigurationError
from shared.failures import describe

log = structlog.get_logger()

# Seconds that a starting process waits for Postgres at most.
PATIENCE_S = 3.0

# The only such setting so far. Changing it affects what is graded later, and which study date is today; the
# study dates of stored attempts stay.
ZONE = "study_time_zone"

_READ = text("SELECT value FROM data_settings WHERE name = :name")

IS_SET = text("SELECT EXISTS (SELECT FROM data_settings WHERE name = 'study_time_zone')")

_RECORD = text("""
    INSERT INTO data_settings (name, value) VALUES (:name, :value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE :replace
""")


def compare(connection: Connection, settings: StoreSettings) -> str:
    """Return the time zone of learners who have none: the stored one, or the setting if none is stored.

    Raises ConfigurationError if STUDY_TIME_ZONE is set and another time zone is stored, or if the stored name
    is not an IANA time zone that this host knows.
    """
    ours, stored = settings.study_time_zone, db.scalar(connection, _READ, {"name": ZONE})
    if stored not in {None, *zones.names()}:
        raise ConfigurationError(
            f"STUDY_TIME_ZONE: the database has {stored}, which is not an IANA time zone: run"
            " `study-ingest migrate --time-zone ZONE`; ZONE is used for learners without a time zone"
        )
    if stored not in {None, ours} and ZONE in settings.model_fields_set:
        raise ConfigurationError(
            f"STUDY_TIME_ZONE: is {ours} here, but {stored} in the database: set it to {stored}, or unset it;"
            f" to use {ours} for later answers, run `study-ingest migrate --time-zone {ours}`"
        )
    return stored or ours


def adopt(connection: Connection, settings: StoreSettings) -> None:
    """Store each setting that is set here and not stored yet; raise as `compare` does."""
    if ZONE in settings.model_fields_set:
        record_zone(connection, settings.study_time_zone, replace=False)
    compare(connection, settings)


def record_zone(connection: Connection, zone: str, *, replace: bool) -> None:
    """Store the time zone of learners who have none of their own; `replace`: even if another is stored."""
    db.execute(connection, _RECORD, {"name": ZONE, "value": zone, "replace": replace})


def compare_at_start(settings: StoreSettings) -> None:
    """Call `adopt` when a process starts; if Postgres fails or is too slow, log a warning and go on.

    Raises ConfigurationError as `adopt` does.
    """
    failed: list[ConfigurationError | DBAPIError] = []

    def adopt_and_note_failure() -> None:
        engine = db.make_engine(settings)
        try:
            with engine.begin() as connection:
                adopt(connection, settings)
        except (ConfigurationError, DBAPIError) as error:
            failed.append(error)
        finally:
            engine.dispose()

    # On its own thread: no timeout of a connection ends the wait for a stopped Postgres.
    thread = threading.Thread(target=adopt_and_note_failure, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    error = failed[0] if failed else None
    if isinstance(error, ConfigurationError):
        raise error
    if error or thread.is_alive():
        why = describe(error) if error else f"no answer within {PATIENCE_S:g} s"
        log.warning("study_time_zone.not_compared_with_stored", error=why)
