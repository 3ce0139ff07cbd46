"""Connections to Postgres, and a fast way to run fixed SQL; SQLAlchemy runs the composed queries."""

import threading
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import psycopg
from psycopg.rows import RowMaker, namedtuple_row
from pydantic_core import to_json
from sqlalchemy import Connection, Engine, TextClause, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from shared.config import StoreSettings

# Postgres drops the locks of a host that vanishes before the task's time limit starts another worker.
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

    `autocommit`: each statement commits by itself. `scanning`: for statements that read whole tables.
    Parameters are hidden from error texts, since they hold learners' answers (I11).
    """
    limits = {
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_timeout,
        "statement_timeout": settings.task_time_limit,
    }
    options = {name: int(value * 1000) for name, value in limits.items()} | {"timezone": "UTC"}
    # A plan made on an empty table would read all of it as it grows, until an ANALYZE
    # (tests/integration/test_plans.py).
    if not scanning:
        options["enable_seqscan"] = "off"
    return create_engine(
        settings.database_url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=pre_ping,
        hide_parameters=True,
        # Switching a connection to it and back at each use would cost as much as a statement.
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


def statements_sent() -> int:
    """Count the statements that this thread has sent so far."""
    return _sent.count


def execute(
    connection: Connection, statement: TextClause, parameters: Mapping[str, Any] | None = None
) -> Cursor:
    """Run a statement; its rows can be unpacked, and have the columns as attributes.

    It begins a transaction and raises errors as `connection.execute` does, which takes twice the CPU
    (docs/performance.md, "Where the time goes").
    """
    if not connection.in_transaction():
        connection.begin()
    _sent.count += 1
    driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
    query, rows = _compiled(statement)
    try:
        return driver.cursor(row_factory=rows).execute(query, parameters or {})
    except psycopg.Error as error:
        if driver.closed:  # lost: the pool must not hand it out again
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=driver.closed
        ) from error


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
    """Write a parameter as one JSON text, times too.

    Rows are sent so: psycopg takes five times as long for arrays, one for each column.
    """
    return to_json(value).decode()


class _Rows:
    """Make the rows of one statement: psycopg's named tuples, whose type is made only once."""

    def __init__(self) -> None:
        self._make: RowMaker[Any] | None = None

    def __call__(self, cursor: psycopg.Cursor[Any]) -> RowMaker[Any]:
        if self._make is None and cursor.description:
            row = type(namedtuple_row(cursor)([None] * len(cursor.description)))
            self._make = partial(tuple.__new__, row)
        return self._make or namedtuple_row(cursor)


@cache
def _compiled(statement: TextClause) -> tuple[bytes, _Rows]:
    return str(statement.compile(dialect=_DIALECT)).encode(), _Rows()
