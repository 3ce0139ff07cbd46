"""Statements that psycopg sends itself, within SQLAlchemy's transaction.

For those of a replay: SQLAlchemy took longer over their results than everything else in it.
"""

import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

import psycopg
from pydantic_core import to_json
from sqlalchemy import Connection, TextClause, make_url
from sqlalchemy.exc import DBAPIError

Cursor = psycopg.Cursor[tuple[Any, ...]]

_DIALECT = make_url("postgresql+psycopg://").get_dialect()()


class _Sent(threading.local):
    count = 0


_sent = _Sent()


def sent() -> int:
    """Count the statements that this thread has sent so far."""
    return _sent.count


def run(connection: Connection, statement: TextClause, bound: Mapping[str, Any]) -> Cursor:
    """Run a statement; begin a transaction, and raise, as `connection.execute` would."""
    if not connection.in_transaction():
        connection.begin()
    _sent.count += 1
    driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
    try:
        return driver.execute(_written(statement), bound)
    except psycopg.Error as error:
        raise _wrapped(connection, error, lost=driver.closed) from error


def as_json(value: Any) -> str:
    """Write a parameter as one JSON text, times and all.

    Rows travel so: as arrays, a column each, they take psycopg five times as long.
    """
    return to_json(value).decode()


def named(cursor: Cursor) -> list[dict[str, Any]]:
    """Fetch the rows of a statement, by the names of its columns."""
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


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
