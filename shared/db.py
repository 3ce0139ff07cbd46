"""Connections to Postgres that give their locks back when they are cut off."""

import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from pydantic_core import to_json
from sqlalchemy import Connection, Engine, TextClause, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from shared.config import StoreSettings

# A host that vanishes must lose its locks before the task's time limit lets another worker in.
TCP_USER_TIMEOUT_MS = 20_000
CONNECT_TIMEOUT_S = 3


def make_engine(
    settings: StoreSettings,
    *,
    pool_size: int = 1,
    pre_ping: bool = False,
    autocommit: bool = False,
    scanning: bool = False,
) -> Engine:
    """Make an engine; call it after a fork, never before.

    `autocommit`: each statement commits by itself. `scanning`: for questions about whole tables.
    Parameters are hidden from error texts, since they hold learners' answers.
    """
    limits = {
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_timeout,
        "statement_timeout": settings.task_time_limit,
    }
    options = {name: int(value * 1000) for name, value in limits.items()} | {"timezone": "UTC"}
    if not scanning:  # what is planned on an empty table would read all of it as it grows, until an ANALYZE
        options["enable_seqscan"] = "off"
    return create_engine(
        settings.database_url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=pre_ping,
        hide_parameters=True,
        # To switch a connection there and back at each use costs as much as a statement.
        isolation_level="AUTOCOMMIT" if autocommit else None,
        pool_reset_on_return=None if autocommit else "rollback",
        connect_args={
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "application_name": "study-ingest",
        },
    )


Cursor = psycopg.Cursor[Any]

_DIALECT = make_url("postgresql+psycopg://").get_dialect()()


class _Sent(threading.local):
    count = 0


_sent = _Sent()


def sent() -> int:
    """Count the statements that this thread has sent so far."""
    return _sent.count


def execute(
    connection: Connection, statement: TextClause, parameters: Mapping[str, Any] | None = None
) -> Cursor:
    """Run a statement; its rows can be unpacked, and have the columns as attributes.

    It begins a transaction, and raises, as `connection.execute` would. SQLAlchemy itself would take several
    times as long for it (docs/performance.md, "CPU").
    """
    if not connection.in_transaction():
        connection.begin()
    _sent.count += 1
    driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
    try:
        return driver.cursor(row_factory=namedtuple_row).execute(_written(statement), parameters or {})
    except psycopg.Error as error:
        raise _wrapped(connection, error, lost=driver.closed) from error


def scalar(connection: Connection, statement: TextClause, parameters: Mapping[str, Any] | None = None) -> Any:
    """Return the first column of the first row; None without a row."""
    row = execute(connection, statement, parameters).fetchone()
    return row and row[0]


def scalars(
    connection: Connection, statement: TextClause, parameters: Mapping[str, Any] | None = None
) -> list[Any]:
    """Return the only column of every row."""
    return [value for (value,) in execute(connection, statement, parameters)]


def as_json(value: Any) -> str:
    """Write a parameter as one JSON text, times and all.

    Rows travel so: as arrays, a column each, they take psycopg five times as long.
    """
    return to_json(value).decode()


@cache
def _written(statement: TextClause) -> bytes:
    return str(statement.compile(dialect=_DIALECT)).encode()


def _wrapped(connection: Connection, error: psycopg.Error, *, lost: bool) -> BaseException:
    """Return SQLAlchemy's error; of a lost connection, which is given up, it says so."""
    if lost:
        connection.invalidate(error)
    return DBAPIError.instance(
        None, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=lost
    )
