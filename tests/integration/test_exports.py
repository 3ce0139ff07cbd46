"""What is exported is what the tables hold, in each form, and takes the same memory however much it is."""

import csv
import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from pyarrow import parquet
from sqlalchemy import Engine, text

from cli import exports
from cli.main import main
from shared.models import StudyQuestionAttempt, StudyQuestionProgress
from tests.factories import ANN, BEN, answer, ingest, load, question, rows, upload

AT = "2026-11-20T09:0{}:00+09:00"
HANDBOOK = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text()


@pytest.fixture(autouse=True)
def _world(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two learners answer; texts of one question look like formulas. Fetch two rows at once."""
    monkeypatch.setattr(exports, "BATCH", 2)
    load(engine)
    load(engine, {"questions": [question(120, "=q120", subject='@SUM("a";1)')]})
    ingest(engine, upload(answer("q110", AT.format(0)), answer("q111", AT.format(1), None)))
    ingest(engine, upload(answer("=q120", AT.format(2), 0), answer("q110", AT.format(3), unsure=True)))
    ingest(engine, upload(answer("q210", AT.format(4))))


def export(database_url: str, *words: str) -> bytes:
    result = CliRunner().invoke(main, ["export", *words], env={"DATABASE_URL": database_url})
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def cells(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize(
    ("what", "table"), [("attempts", StudyQuestionAttempt), ("progress", StudyQuestionProgress)]
)
def test_the_three_forms_hold_what_the_tables_hold(
    engine: Engine, database_url: str, tmp_path: Path, what: str, table: Any
) -> None:
    stored = rows(engine, table)
    file = tmp_path / "exported.parquet"
    assert export(database_url, what, "--format", "parquet", "--output", str(file)) == b""
    assert list(tmp_path.iterdir()) == [file]
    assert parquet.ParquetFile(file).metadata.num_row_groups > 1
    read = parquet.read_table(file).to_pylist()
    shared = stored[0].keys() & read[0].keys()
    assert len(shared) > 10
    assert [{name: row[name] for name in shared} for row in read] == [
        {name: row[name] for name in shared} for row in stored
    ]
    lines = [json.loads(line) for line in export(database_url, what, "--format", "ndjson").splitlines()]
    table_cells = cells(export(database_url, what))
    for row, line, written in zip(read, lines, table_cells, strict=True):
        assert [*row] == [*line] == [*written]
        for name, value in row.items():
            if isinstance(value, datetime):
                assert datetime.fromisoformat(line[name]) == datetime.fromisoformat(written[name]) == value
                assert value.tzinfo == UTC or value.utcoffset() == UTC.utcoffset(None)
            elif isinstance(value, bool) or value is None:
                assert (line[name], written[name]) == (value, "" if value is None else str(value).lower())
            elif isinstance(value, str):
                assert (line[name], written[name].removeprefix("'")) == (value, value)
            else:
                assert str(value) == str(line[name]) == written[name]


def test_a_text_that_a_spreadsheet_would_run_is_quoted_in_csv_alone(database_url: str) -> None:
    (written,) = [row for row in cells(export(database_url, "attempts")) if "120" in row["pub_id"]]
    assert (written["pub_id"], written["subject"]) == ("'=q120", '\'@SUM("a";1)')
    lines = export(database_url, "attempts", "--format", "ndjson").splitlines()
    assert "=q120" in {json.loads(line)["pub_id"] for line in lines}


@pytest.mark.parametrize("what", ["attempts", "progress"])
def test_one_learner_or_one_topic_is_exported_alone(database_url: str, what: str) -> None:
    everybodys = cells(export(database_url, what))
    for option, column, value in (("--learner", "user_id", ANN), ("--topic", "study_topic_id", BEN * 10 + 1)):
        found = cells(export(database_url, what, option, str(value)))
        assert found == [row for row in everybodys if row[column] == str(value)] != []
    assert cells(export(database_url, what, "--learner", str(ANN), "--topic", str(BEN * 10 + 1))) == []


@pytest.mark.parametrize("what", ["attempts", "progress"])
def test_the_handbook_tells_of_every_column(database_url: str, what: str) -> None:
    described = HANDBOOK.partition(f"### Columns of {what}")[2].partition("\n### ")[0]
    assert [name for name in cells(export(database_url, what))[0] if f"`{name}`" not in described] == []


def test_a_missing_pyarrow_is_named_and_leaves_no_file(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    words = ["export", "attempts", "--format", "parquet", "--output", str(tmp_path / "exported")]
    result = CliRunner().invoke(main, words, env={"DATABASE_URL": database_url})
    assert result.exit_code == 1
    assert "needs pyarrow, the extra `parquet`" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_written_to_and_stays_one(database_url: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        export(database_url, "attempts", "--output", str(pipe))
        assert cells(read.result()) == cells(export(database_url, "attempts"))
    assert pipe.is_fifo()


def test_a_link_beside_the_output_is_not_followed(database_url: str, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.write_text("kept")
    (tmp_path / "a.csv.part").symlink_to(others)
    export(database_url, "attempts", "--output", str(tmp_path / "a.csv"))
    assert len(cells((tmp_path / "a.csv").read_bytes())) > 0
    assert (others.read_text(), len(list(tmp_path.iterdir()))) == ("kept", 3)


def test_a_file_below_dev_is_replaced_only_once_all_is_written(database_url: str) -> None:
    with TemporaryDirectory(dir="/dev/shm") as memory:  # as a user may choose it
        output = Path(memory) / "attempts.csv"
        output.write_text("kept")
        before = output.stat().st_ino
        export(database_url, "attempts", "--output", str(output))
        assert output.stat().st_ino != before


MANY = text("""
    INSERT INTO study_question_attempts SELECT
        user_id, study_quiz_session_id, 1000 + n, study_question_id, pub_id, selected, unsure, outcome,
        rating, FALSE, answered_at, answered_at_raw, utc_offset, study_date, clock_adjusted
    FROM (SELECT * FROM study_question_attempts WHERE user_id = :user_id LIMIT 1) AS one,
        generate_series(1, :number) AS n
""")
MEASURE = """
import sys
from cli import exports
from cli.main import main

exports.BATCH = 500

def peak(*words):
    main(["export", "attempts", *words], standalone_mode=False)
    # Not ru_maxrss: it begins with that of pytest, from which this process was made.
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    return int(line.split()[1])

_, few, *options = sys.argv
before = peak("--learner", few, *options)
print((peak(*options) - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of one program")
@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_memory_does_not_grow_with_the_rows(
    engine: Engine, database_url: str, tmp_path: Path, form: str
) -> None:
    """60,000 rows take 40 MiB or more at once, where the driver fetches them whole."""
    with engine.begin() as connection:
        connection.execute(MANY, {"user_id": ANN, "number": 60_000})
        connection.execute(MANY, {"user_id": BEN, "number": 3_000})
    file = tmp_path / "exported"
    command = [sys.executable, "-c", MEASURE, str(BEN), "--format", form, "--output", str(file)]
    grown = subprocess.run(
        command, env={"DATABASE_URL": database_url}, capture_output=True, text=True, check=True
    )
    assert int(grown.stdout) < 16
    assert file.stat().st_size > 300_000
