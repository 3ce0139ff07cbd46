"""Record the statements of real replays, and let pgbench run them on fresh rows: what Postgres itself can do.

pgbench has variables, but no parameters. So the parameters of each upload are a row of a table, and each
transaction reads its row first, by one statement. Only the ids of new sessions are made by the statements
themselves: every client gets its own range of the sequence, so that these ids are known beforehand.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.adapt import PyFormat, Transformer
from sqlalchemy import NullPool, create_engine

from benchmarks.servers import Stores, libpq
from benchmarks.workload import TOPICS
from shared.replay import replay

PLACEHOLDER = re.compile(r"%\((\w+)\)s|%s")
SESSION_IDS = "study_quiz_sessions_id_seq"
RECORDED_FROM = 2_000_000_000  # unlike every other number in the parameters
RECORDED_ID = re.compile(r"\b2000\d{6}\b")
RANGE = 1_000_000
FIRST_RANGE = 10
# The first id that a client draws says which range is its own.
SCRIPT = """\
\\set k :k + 1
\\if :k = 0
SELECT nextval('{sequence}') / {range} - {first} AS client \\gset
\\endif
SELECT {columns} FROM recorded WHERE client = :client AND number = :k \\gset
BEGIN;
{statements}
END;
"""


class Parameter(NamedTuple):
    """A parameter as it is sent: its text, None for NULL, and its type, empty where the server infers it."""

    value: str | None
    type_: str


class Statement(NamedTuple):
    """A statement with `{}` in the place of every parameter."""

    sql: str
    parameters: tuple[Parameter, ...]


Uploads = list[list[Statement]]


class DifferingError(Exception):
    """The recorded replays are not of one kind, so one script cannot stand for them."""


class RecordingCursor(psycopg.Cursor[Any]):
    """A cursor that keeps every statement that psycopg sends, whichever library asks for it."""

    recorded: list[Statement]

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        """Keep a statement, and run it."""
        text = query if isinstance(query, str) else query.decode()
        RecordingCursor.recorded.append(statement(self.connection, text, params or ()))
        return super().execute(query, params, **options)


def statement(
    connection: psycopg.Connection[Any], query: str, params: Mapping[str, Any] | Sequence[Any]
) -> Statement:
    """Return a statement with its parameters as psycopg writes them."""
    positional = iter(() if isinstance(params, Mapping) else params)
    parameters = []
    for found in PLACEHOLDER.finditer(query):
        value = params[found[1]] if isinstance(params, Mapping) else next(positional)
        transformer = Transformer(connection)
        (dumped,) = transformer.dump_sequence([value], [PyFormat.TEXT])
        (oid,) = transformer.types or (0,)
        known = connection.adapters.types[oid] if oid else None
        type_ = known.regtype + "[]" * (oid == known.array_oid) if known else ""
        parameters.append(Parameter(None if dumped is None else bytes(dumped).decode(), type_))
    without = PLACEHOLDER.sub("{}", query.replace("{", "{{").replace("}", "}}")).replace("%%", "%")
    return Statement(without, tuple(parameters))


def record(database_url: str, uploads: list[UUID]) -> Uploads:
    """Replay each upload, and return the statements that this took."""
    engine = create_engine(database_url, poolclass=NullPool, connect_args={"cursor_factory": RecordingCursor})
    RecordingCursor.recorded = []
    engine.connect().close()  # SQLAlchemy's first queries to a server are no part of a replay
    recorded = []
    for upload in uploads:
        RecordingCursor.recorded = []
        with engine.begin() as connection:
            replay(connection, [upload], now=datetime.now(UTC), default_zone="UTC")
        recorded.append(RecordingCursor.recorded)
    return recorded


def run(stores: Stores, database: str, uploads: Uploads, clients: int) -> float:
    """Run the statements once in a database; return the uploads per second."""
    parameters = [[each for statement in upload for each in statement.parameters] for upload in uploads]
    file = stores.directory / "replay.sql"
    file.write_text(script(uploads, parameters))
    with psycopg.connect(libpq(stores.url(database)), autocommit=True) as connection:
        load(connection, parameters, clients)
    postgres = stores.servers.postgres
    output = subprocess.run(  # noqa: S603  # the arguments are ours; no shell
        [
            *(str(postgres.programs / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={file}"),
            *(f"--client={clients}", f"--jobs={clients}", f"--transactions={len(uploads) // clients}"),
            *("--define=k=-1", libpq(stores.url(database))),
        ],
        env=os.environ | {"PGOPTIONS": "-c enable_seqscan=off"},  # as our own connections
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return float(output.partition("tps = ")[2].split()[0])


def script(uploads: Uploads, parameters: list[list[Parameter]]) -> str:
    """Return pgbench's script of one replay; it is the same for all uploads."""
    if len({tuple(statement.sql for statement in upload) for upload in uploads}) > 1:
        raise DifferingError("the recorded replays do not all have the same statements")
    variables = []
    for number, column in enumerate(zip(*parameters, strict=True)):
        if any(each.value is None for each in column) and any(each.value is not None for each in column):
            raise DifferingError(
                "a parameter is NULL in some replays only: no variable of pgbench can be NULL"
            )
        type_ = max(each.type_ for each in column)
        variable = f":v{number}" + (f"::{type_}" if type_ else "")
        variables.append("NULL" if column[0].value is None else variable)
    remaining = iter(variables)
    statements = [each.sql.format(*(next(remaining) for _ in each.parameters)) for each in uploads[0]]
    columns = [f"v{number}" for number, variable in enumerate(variables) if variable != "NULL"]
    return SCRIPT.format(
        sequence=SESSION_IDS,
        range=RANGE,
        first=FIRST_RANGE,
        columns=", ".join(columns),
        statements="\n".join(f"{statement.strip()};" for statement in statements),
    )


def load(connection: psycopg.Connection, parameters: list[list[Parameter]], clients: int) -> None:
    """Write the parameters into the table that the script reads."""
    columns = [sql.Identifier(f"v{number}") for number in range(len(parameters[0]))]
    names = sql.SQL(", ").join(sql.SQL("{} text").format(column) for column in columns)
    connection.execute(
        sql.SQL("CREATE TABLE recorded (client int, number int, {}, PRIMARY KEY (client, number))").format(
            names
        )
    )
    with connection.cursor().copy("COPY recorded FROM STDIN") as copy:
        for index, row in enumerate(parameters):
            number, client = divmod(index, clients)
            values = [renumbered(each.value, index, number, client) for each in row]
            copy.write_row([client, number, *values])
    restart = f"ALTER SEQUENCE {SESSION_IDS} RESTART {FIRST_RANGE * RANGE} CACHE {RANGE}"
    connection.execute(restart.encode())
    connection.execute("VACUUM ANALYZE recorded")


def renumbered(value: str | None, index: int, number: int, client: int) -> str | None:
    """Put the session ids that a client will draw in the place of the recorded ones.

    `index` is the upload's place among all uploads, `number` its place among the uploads of its client.
    """
    first = (FIRST_RANGE + client) * RANGE + 1 + number * TOPICS
    recorded_first = RECORDED_FROM + index * TOPICS
    return value and RECORDED_ID.sub(lambda found: str(int(found[0]) - recorded_first + first), value)
