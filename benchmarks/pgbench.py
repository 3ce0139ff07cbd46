"""The recorded statements of many uploads, run by pgbench on fresh rows: what Postgres itself can do.

pgbench knows no parameters but its variables. So those of each upload are a row of a table, which is read, in
a statement of its own, before the transaction. The ids of new sessions are the one thing that the statements
themselves make: every client gets a lane of the sequence to itself, so that they are known beforehand.
"""

import os
import re
import subprocess

import psycopg
from psycopg import sql

from benchmarks.ground import Ground, plain
from benchmarks.lessons import TOPICS
from benchmarks.recorded import Parameter, Statement

SESSION_IDS = "study_quiz_sessions_id_seq"
RECORDED_FROM = 2_000_000_000  # told from every other number in the parameters
RECORDED = re.compile(r"\b2000\d{6}\b")
LANE = 1_000_000
FIRST_LANE = 10
# The first of a lane tells its client which lane it has.
SCRIPT = """\
\\set k :k + 1
\\if :k = 0
SELECT nextval('{sequence}') / {lane} - {first} AS lane \\gset
\\endif
SELECT {columns} FROM recorded WHERE lane = :lane AND number = :k \\gset
BEGIN;
{statements}
END;
"""

Uploads = list[list[Statement]]


class UnlikeError(Exception):
    """The recorded replays are not of one kind, so that one script cannot stand for them."""


def run(ground: Ground, database: str, uploads: Uploads, clients: int) -> float:
    """Run the statements once in a database; return the uploads in a second."""
    parameters = [[each for statement in upload for each in statement.parameters] for upload in uploads]
    script = ground.home / "replay.sql"
    script.write_text(_script(uploads, parameters))
    with psycopg.connect(plain(ground.url(database)), autocommit=True) as connection:
        _load(connection, parameters, clients)
    postgres = ground.servers.postgres
    said = subprocess.run(  # noqa: S603  # our own words; no shell
        [
            *(str(postgres.programs / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={script}"),
            *(f"--client={clients}", f"--jobs={clients}", f"--transactions={len(uploads) // clients}"),
            *("--define=k=-1", plain(ground.url(database))),
        ],
        env=os.environ | {"PGOPTIONS": "-c enable_seqscan=off"},  # as our own connections
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return float(said.partition("tps = ")[2].split()[0])


def _script(uploads: Uploads, parameters: list[list[Parameter]]) -> str:
    if len({tuple(statement.sql for statement in upload) for upload in uploads}) > 1:
        raise UnlikeError("the statements of one replay are not those of another")
    variables = [_variable(number, column) for number, column in enumerate(zip(*parameters, strict=True))]
    places = iter(variables)
    statements = [each.sql.format(*(next(places) for _ in each.parameters)) for each in uploads[0]]
    columns = [f"v{number}" for number, variable in enumerate(variables) if variable != "NULL"]
    return SCRIPT.format(
        sequence=SESSION_IDS,
        lane=LANE,
        first=FIRST_LANE,
        columns=", ".join(columns),
        statements="\n".join(f"{statement.strip()};" for statement in statements),
    )


def _variable(number: int, column: tuple[Parameter, ...]) -> str:
    if all(each.value is None for each in column):
        return "NULL"
    if any(each.value is None for each in column):
        raise UnlikeError("a parameter is NULL in some replays only, which no variable can be")
    type_ = max(each.type_ for each in column)
    return f":v{number}" + (f"::{type_}" if type_ else "")


def _load(connection: psycopg.Connection, parameters: list[list[Parameter]], clients: int) -> None:
    columns = [sql.Identifier(f"v{number}") for number in range(len(parameters[0]))]
    names = sql.SQL(", ").join(sql.SQL("{} text").format(column) for column in columns)
    connection.execute(
        sql.SQL("CREATE TABLE recorded (lane int, number int, {}, PRIMARY KEY (lane, number))").format(names)
    )
    with connection.cursor().copy("COPY recorded FROM STDIN") as copy:
        for place, row in enumerate(parameters):
            number, lane = divmod(place, clients)
            copy.write_row([lane, number, *(moved(each.value, place, number, lane) for each in row)])
    restart = f"ALTER SEQUENCE {SESSION_IDS} RESTART {FIRST_LANE * LANE} CACHE {LANE}"
    connection.execute(restart.encode())
    connection.execute("VACUUM ANALYZE recorded")


def moved(value: str | None, place: int, number: int, lane: int) -> str | None:
    """Put the session ids that a client will draw in the place of the recorded ones.

    `place` is the upload's among all of them, `number` that within its client's `lane`.
    """
    first = (FIRST_LANE + lane) * LANE + 1 + number * TOPICS
    recorded_first = RECORDED_FROM + place * TOPICS
    return value and RECORDED.sub(lambda found: str(int(found[0]) - recorded_first + first), value)
