"""Connections to Postgres, and a fast way to run fixed SQL; SQLAlchemy runs the composed queries."""

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import FeatureNotSupported, ReadOnlySqlTransaction
from psycopg.rows import RowFactory, RowMaker, namedtuple_row, tuple_row
from pydantic_core import to_json
from sqlalchemy import Connection, Engine, ExceptionContext, TextClause, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from shared import hosts
from shared.config import StoreSettings

# Seconds without an acknowledgement of sent data, after which the host counts as vanished.
VANISHED_S = 2.0
# Parameters that the URL may set to other values; times are in seconds. With these and VANISHED_S, every
# process uses a new primary within five seconds (docs/operations.md, "Postgres: fail-over").
DEFAULTS = {
    "connect_timeout": 2,  # the shortest that libpq has
    "keepalives_idle": 2,  # during the wait for an answer nothing is sent, so VANISHED_S does not apply
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "application_name": "study-ingest",
}
# Settings that our statements and the driver need, whatever the server, database or role sets.
RELIED_ON = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",  # stability and difficulty come back as they were written
    "default_transaction_isolation": "read committed",
}
# Limits that must not apply, and the first version of Postgres that has each: a connection in a pool, and the
# one that holds a migration's lock, may be idle for hours.
UNLIMITED = {"idle_session_timeout": 140_000, "transaction_timeout": 170_000}
# Errors that show that an open connection is useless: the server became a standby, or a migration changed the
# columns that a prepared statement returns. A new connection may lead to another server, and has no old
# plans.
_USELESS = (ReadOnlySqlTransaction, FeatureNotSupported)
# Keys in a connection's `info`: the statement that sets up each transaction of a pooler, and what
# `catalog_is_ours` has seen.
_EACH_TRANSACTION = "each transaction"
_OWN_CATALOG = "own catalog"


def make_engine(  # noqa: PLR0913  # each is an engine's own property
    settings: StoreSettings,
    *,
    pool_size: int = 1,
    pre_ping: bool = False,
    autocommit: bool = False,
    scanning: bool = False,
    statement_limit: float | None = None,
) -> Engine:
    """Make an engine; call this function after a fork, never before.

    `autocommit`: each statement commits by itself. `scanning`: for statements that read whole tables.
    `statement_limit`: seconds of the longest statement; None means TASK_TIME_LIMIT.
    The URL may have all parameters of libpq, such as several hosts, `options` or `sslmode`. A server that is
    not on this machine must prove its name, unless the URL has an `sslmode`, or PGSSLMODE is set.
    The parameters of statements are hidden from error texts, since they hold learners' answers.
    """
    statement_limit = statement_limit or settings.task_time_limit
    vanished = {"tcp_user_timeout": int(min(VANISHED_S, statement_limit) * 1000)}
    arguments: dict[str, Any] = DEFAULTS | vanished | conninfo_to_dict(settings.database_url)
    arguments |= hosts.tls_arguments(arguments)
    several = hosts.Hosts.of(arguments)
    if several or "," in str(arguments.get("hostaddr")):  # one of them may be a standby
        arguments.setdefault("target_session_attrs", "read-write")
    limits = {
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_timeout,
        "statement_timeout": statement_limit,
    }
    wanted = RELIED_ON | {name: f"{value * 1000:.0f}" for name, value in limits.items()}
    if settings.database_schema or "search_path" not in str(arguments.get("options")):
        wanted["search_path"] = f'"{settings.database_schema or "public"}"'
    # A plan that is made on an empty table would read all of the table as it grows, until an ANALYZE
    # (tests/integration/test_plans.py).
    if not scanning:
        wanted["enable_seqscan"] = "off"
    engine = create_engine(
        "postgresql+psycopg://",
        connect_args=arguments | {"client_encoding": "UTF8"},
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=pre_ping,
        hide_parameters=True,
        # Switching a connection to AUTOCOMMIT and back at each use would cost as much as a statement.
        isolation_level="AUTOCOMMIT" if autocommit else "READ COMMITTED",
        pool_reset_on_return=None if autocommit else "rollback",
    )
    if several:
        event.listen(engine, "do_connect", several.apply_order)
        event.listen(engine, "connect", several.note_connected)
        event.listen(engine, "invalidate", several.note_lost)
    event.listen(engine, "connect", partial(_set_up, settings, wanted))
    event.listen(engine, "begin", _set_up_transaction)
    event.listen(engine, "handle_error", _give_up)
    return engine


def _set_up(
    settings: StoreSettings, wanted: Mapping[str, str], driver: psycopg.Connection, entry: ConnectionPoolEntry
) -> None:
    """Apply the settings: for Postgres once for each connection, for a pooler in each transaction.

    A pooler may give each transaction another session of Postgres. A pooler is recognised by the process id
    that it reports when a connection is made: no session of Postgres has this id.
    """
    is_pooled = f"pg_backend_pid() <> {driver.info.backend_pid}"
    known = {name: "0" for name, since in UNLIMITED.items() if driver.info.server_version >= since}
    values = ", ".join(
        f"set_config('{name}', '{value}', {is_pooled})" for name, value in {**known, **wanted}.items()
    )
    statement = f"SELECT {is_pooled}, {values}"
    try:
        row = driver.execute(statement.encode()).fetchone()
        driver.commit()
    except psycopg.Error:
        driver.close()
        raise
    if row and row[0]:
        entry.info[_EACH_TRANSACTION] = statement.encode()
        driver.autocommit = False  # outside of a transaction nothing can be set
        driver.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        if not settings.pooler_prepares:
            driver.prepare_threshold = None


def _set_up_transaction(connection: Connection) -> None:
    if statement := connection.info.get(_EACH_TRANSACTION):
        _send(connection, statement, {}, tuple_row)


def is_pooled(connection: Connection) -> bool:
    """Return whether a connection leads to a pooler, which gives each transaction another session."""
    return _EACH_TRANSACTION in connection.info


_CATALOG = text("SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass('users')")


def catalog_is_ours(connection: Connection) -> bool:
    """Return whether the catalog consists of our own tables, not of views on those of a document server.

    A catalog that does not exist yet counts as ours. An existing catalog never changes its kind, so a
    connection remembers the answer.
    """
    if (ours := connection.info.get(_OWN_CATALOG)) is None:
        ours = connection.info[_OWN_CATALOG] = scalar(connection, _CATALOG)
    return ours is not False


_ENCODING = text("SHOW server_encoding")


def encoding(connection: Connection) -> str:
    """Return the encoding of the database; only UTF8 can store all that viewers may send."""
    return str(scalar(connection, _ENCODING))


def _give_up(context: ExceptionContext) -> None:
    context.is_disconnect = context.is_disconnect or isinstance(context.original_exception, _USELESS)


Cursor = psycopg.Cursor[Any]

_DIALECT = make_url("postgresql+psycopg://").get_dialect()()


class _Sent(threading.local):
    count = 0


_sent = _Sent()


def statements_sent() -> int:
    """Count the statements that this thread has sent by `execute` so far."""
    return _sent.count


def execute(
    connection: Connection, statement: TextClause, parameters: Mapping[str, Any] | None = None
) -> Cursor:
    """Run a statement; its rows can be unpacked, and have the columns as attributes.

    Like `connection.execute`, this begins a transaction and raises SQLAlchemy's errors, but takes half the
    CPU time (docs/performance.md, "Where the time goes").
    """
    if not connection.in_transaction():
        connection.begin()
    _sent.count += 1
    query, rows = _compiled(statement)
    return _send(connection, query, parameters or {}, rows)


def _send(
    connection: Connection, query: bytes, parameters: Mapping[str, Any], rows: RowFactory[Any]
) -> Cursor:
    driver: psycopg.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
    try:
        return driver.cursor(row_factory=rows).execute(query, parameters)
    except psycopg.Error as error:
        lost = driver.closed or isinstance(error, _USELESS)
        if lost:  # the pool must not hand it out again
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=lost
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


_NOW = text("SELECT now()")


def now(connection: Connection) -> datetime:
    """Return when the transaction began, by Postgres' clock; the clocks of hosts differ."""
    moment: datetime = scalar(connection, _NOW)
    return moment


def as_json(value: Any) -> str:
    """Write a parameter, which may contain datetimes, as one JSON text.

    Rows are sent as JSON, because psycopg needs five times as long to send one array for each column.
    """
    return to_json(value).decode()


def as_array(values: Iterable[int | UUID]) -> str:
    """Write values as the text of a Postgres array; psycopg's conversion of a list takes far longer."""
    return f"{{{','.join(map(str, values))}}}"


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
