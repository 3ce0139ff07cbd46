"""`export`: write attempts or progress as a table, batch by batch, in constant memory."""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

import click
from sqlalchemy import Connection, CursorResult, text

from cli import context
from cli.options import BIGINT
from shared import db
from shared.errors import ConfigurationError

# LEFT JOIN: a document server may have deleted a question.
# The rows of each export, ordered by the key of the table; docs/files.md says what the columns mean.
TABLES = {
    "attempts": """
        SELECT a.user_id, s.study_topic_id, q.subject, a.study_question_id, a.pub_id,
            a.study_quiz_session_id, s.source, s.client_session_uuid, s.status AS session_status,
            s.voided_at IS NOT NULL AS voided, a.ordinal, a.counted, a.selected, a.unsure, a.outcome,
            a.rating, a.answered_at, a.utc_offset, a.study_date, a.clock_adjusted
        FROM study_question_attempts a
        JOIN study_quiz_sessions s ON s.user_id = a.user_id AND s.id = a.study_quiz_session_id
        LEFT JOIN study_questions q ON q.id = a.study_question_id
        WHERE {learner} AND {topic}
        ORDER BY a.user_id, a.study_quiz_session_id, a.ordinal
    """,
    "progress": """
        SELECT a.user_id, s.study_topic_id, s.subject, a.study_question_id, e.pub_id, a.stability,
            a.difficulty, a.due, a.due_at_most, a.last_answered_at, a.last_study_date, a.reviews, a.misses,
            a.corrects, a.miss_streak, a.correct_streak, a.wrong_note, a.note_opened_at, a.note_closed_at
        FROM study_question_progress a
        LEFT JOIN study_questions s ON s.id = a.study_question_id
        LEFT JOIN current_editions e ON e.source_id = a.study_question_id
        WHERE {learner} AND {topic}
        ORDER BY a.study_question_id, a.user_id
    """,
}
# Rows that are fetched at once; also the size of a row group of Parquet.
BATCH = 20_000
# No time limits: a reader of a pipe may pause for any time, and all rows may be sorted before any is sent.
_NO_HURRY = text("""
    SELECT set_config(name, '0', true)
    FROM (VALUES ('statement_timeout'), ('idle_in_transaction_session_timeout')) AS limits (name)
""")
# A spreadsheet may run a text that begins with one of these as a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Batches = Iterable[Sequence[Sequence[Any]]]


@click.command()
@click.argument("what", type=click.Choice(list(TABLES)))
@click.option("--learner", type=BIGINT, metavar="ID", help="Only rows of this learner.")
@click.option("--topic", type=BIGINT, metavar="ID", help="Only rows of this topic.")
@click.option("--format", "form", type=click.Choice(("csv", "ndjson", "parquet")), default="csv")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; by default standard output.",
)
@context.with_store
def export(  # noqa: PLR0913  # one for each option
    what: str, *, learner: int | None, topic: int | None, form: str, output: Path | None, store: context.Store
) -> None:
    """Write all attempts, or all progress, as they are at one moment.

    A table of any size takes the same memory. A FILE that exists is replaced once all is written.
    """
    with (
        store.engine.connect() as connection,
        _select(connection, what, learner, topic) as rows,
        _opened(output) as file,
    ):
        # The oid of each column's type.
        columns = {each[0]: each[1] for each in rows.cursor.description}
        WRITERS[form](file, columns, rows.partitions(BATCH))


def _select(connection: Connection, what: str, learner: int | None, topic: int | None) -> CursorResult[Any]:
    """Open a cursor on the server: without it, the driver would fetch all rows at once."""
    db.execute(connection, _NO_HURRY)
    statement = TABLES[what].format(
        learner="a.user_id = :learner" if learner is not None else "TRUE",
        topic="s.study_topic_id = :topic" if topic is not None else "TRUE",
    )
    options = {"stream_results": True, "yield_per": BATCH}
    bound = {name: value for name, value in (("learner", learner), ("topic", topic)) if value is not None}
    return connection.execute(text(statement), bound, execution_options=options)


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    if not output:
        yield sys.stdout.buffer
        return
    # A pipe or a device is not to be replaced; nor is /dev/stdout, which may be a link to a file.
    if (output.exists() and not output.is_file()) or (output.is_symlink() and output.is_relative_to("/dev")):
        with output.open("wb") as file:
            yield file
        return
    part = output.with_name(f"{output.name}.{token_hex(4)}.part")
    try:
        with part.open("xb") as file:  # new: a link that another user has put there is not followed
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _write_csv(file: BinaryIO, columns: Mapping[str, Any], batches: Batches) -> None:
    lines = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    writer = csv.writer(lines)
    writer.writerow(columns)
    for batch in batches:
        writer.writerows([_cell(value) for value in row] for row in batch)
    lines.detach()


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{value}" if value.startswith(_FORMULA) else value
    return value


def _write_ndjson(file: BinaryIO, columns: Mapping[str, Any], batches: Batches) -> None:
    for batch in batches:
        file.writelines(f"{db.as_json(dict(zip(columns, row, strict=True)))}\n".encode() for row in batch)


def _write_parquet(file: BinaryIO, columns: Mapping[str, Any], batches: Batches) -> None:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigurationError(
            "--format parquet needs pyarrow, the extra `parquet` (uv sync --extra parquet)"
        ) from None
    moment = arrow.timestamp("us", tz="UTC")
    types = {16: arrow.bool_(), 20: arrow.int64(), 21: arrow.int16(), 23: arrow.int32(), 701: arrow.float64()}
    types |= {25: arrow.string(), 1043: arrow.string(), 1082: arrow.date32(), 1184: moment}  # oids of pg_type
    schema = arrow.schema([(name, types[oid]) for name, oid in columns.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for batch in batches:
            values = zip(*batch, strict=True)
            arrays = [arrow.array(column, each.type) for column, each in zip(values, schema, strict=True)]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))


WRITERS: dict[str, Callable[[BinaryIO, Mapping[str, Any], Batches], None]] = {
    "csv": _write_csv,
    "ndjson": _write_ndjson,
    "parquet": _write_parquet,
}
