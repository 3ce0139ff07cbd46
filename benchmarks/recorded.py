"""The statements of real replays, with their parameters, whatever library sends them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.adapt import PyFormat, Transformer
from sqlalchemy import NullPool, create_engine

from shared.replay import replay

PLACEHOLDER = re.compile(r"%\((\w+)\)s|%s")


class Parameter(NamedTuple):
    """A parameter as it travels: its text, None for NULL, and its type, empty where the server infers it."""

    value: str | None
    type_: str


class Statement(NamedTuple):
    """A statement with `{}` in the place of every parameter."""

    sql: str
    parameters: tuple[Parameter, ...]


class _Cursor(psycopg.Cursor[Any]):
    recorded: list[Statement] | None = None

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        if _Cursor.recorded is not None:
            _Cursor.recorded.append(_statement(self.connection, query, params or ()))
        return super().execute(query, params, **options)


def _statement(connection: psycopg.Connection[Any], sent: str | bytes, given: Any) -> Statement:
    query = sent if isinstance(sent, str) else sent.decode()
    positional = iter(() if isinstance(given, dict) else given)
    values = [given[found[1]] if found[1] else next(positional) for found in PLACEHOLDER.finditer(query)]
    sql = PLACEHOLDER.sub("{}", query.replace("{", "{{").replace("}", "}}")).replace("%%", "%")
    return Statement(sql, tuple(_parameter(connection, value) for value in values))


def _parameter(connection: psycopg.Connection[Any], value: Any) -> Parameter:
    travelling = Transformer(connection)
    (dumped,) = travelling.dump_sequence([value], [PyFormat.TEXT])
    (oid,) = travelling.types or (0,)
    return Parameter(None if dumped is None else bytes(dumped).decode(), _type_name(connection, oid))


def _type_name(connection: psycopg.Connection[Any], oid: int) -> str:
    if not oid:
        return ""
    known = connection.adapters.types[oid]
    return known.regtype + "[]" * (oid == known.array_oid)


@contextmanager
def _recording() -> Iterator[list[Statement]]:
    _Cursor.recorded = []
    try:
        yield _Cursor.recorded
    finally:
        _Cursor.recorded = None


def record(database_url: str, uploads: list[UUID]) -> list[list[Statement]]:
    """Replay each upload, and return the statements that this took."""
    engine = create_engine(database_url, poolclass=NullPool, connect_args={"cursor_factory": _Cursor})
    engine.connect().close()  # what SQLAlchemy asks of a new server is no part of a replay
    recorded = []
    for upload in uploads:
        with _recording() as statements, engine.begin() as connection:
            replay(connection, upload, now=datetime.now(UTC), default_zone="UTC")
        recorded.append(statements)
    return recorded
