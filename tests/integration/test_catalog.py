"""The command that loads a catalog takes its file in any form, and all of it or nothing."""

import codecs
import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, update

from cli.main import main
from shared.models import PublishedItem, StudyQuestion, StudyTopic, User
from tests.factories import everything, rows

HANDBOOK = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text()
TABLE = HANDBOOK.split("```csv\n")[1].split("```")[0]
ITEM = """<qti-assessment-item identifier="q-1">
  <qti-response-declaration identifier="RESPONSE" cardinality="single">
    <qti-correct-response><qti-value>B</qti-value></qti-correct-response></qti-response-declaration>
  <qti-choice-interaction response-identifier="RESPONSE">
    <qti-simple-choice identifier="A">no</qti-simple-choice>
    <qti-simple-choice identifier="B">yes</qti-simple-choice></qti-choice-interaction>
</qti-assessment-item>"""


def load(database_url: str, *options: str, content: bytes) -> Result:
    words = ["catalog", "load", "-", *options]
    return CliRunner().invoke(main, words, env={"DATABASE_URL": database_url}, input=content)


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode("utf-8-sig"),
        TABLE.replace(";", "\t").encode("utf-16"),
        gzip.compress(TABLE.encode()),
    ],
)
def test_the_handbooks_table_is_loaded_and_again_changes_nothing(
    engine: Engine, database_url: str, content: bytes
) -> None:
    result = load(database_url, "--learner", "7", content=content)
    assert result.output == "1 learners, 1 topics, 2 questions, 2 editions\n"
    assert [row["id"] for row in rows(engine, User)] == [7]
    assert [row["name"] for row in rows(engine, StudyTopic)] == ["Anatomy"]
    assert {row["subject"] for row in rows(engine, StudyQuestion)} == {"Bones", "Joints"}
    editions: dict[str, Any] = {row["pub_id"]: row for row in rows(engine, PublishedItem)}
    assert (editions["q-101"]["choices"], editions["q-101"]["correct_choice"]) == (
        ["femur", "tibia", "ulna"],
        1,
    )
    assert (editions["q-102"]["choices"], editions["q-102"]["correct_choice"]) == (["yes, both", "no"], 0)
    before = everything(engine)
    assert load(database_url, "--learner", "7", content=content).exit_code == 0
    assert everything(engine) == before


SAID = {
    StudyTopic: {"exam_on": date(2027, 2, 1)},
    StudyQuestion: {"exam_frequency": 0.5, "retired_at": datetime(2026, 11, 1, tzinfo=UTC)},
    PublishedItem: {"published_at": datetime(2026, 10, 1, tzinfo=UTC)},
}


@pytest.mark.parametrize(
    ("file", "typo"), [(TABLE, ("femur", "Femur")), (ITEM, (">no<", ">No<"))], ids=["table", "QTI"]
)
def test_what_a_form_cannot_say_stays_as_it_is_stored(
    engine: Engine, database_url: str, file: str, typo: tuple[str, str]
) -> None:
    options = ("--learner", "7", *(("--topic", "Anatomy") if file is ITEM else ()))
    load(database_url, *options, content=file.encode())
    with engine.begin() as connection:
        for table, values in SAID.items():
            connection.execute(update(table).values(values))
    before = everything(engine)
    assert load(database_url, *options, content=file.encode()).exit_code == 0
    assert everything(engine) == before
    assert load(database_url, *options, content=file.replace(*typo).encode()).exit_code == 0
    assert everything(engine) != before
    for table, values in SAID.items():
        assert all(row.items() >= values.items() for row in rows(engine, table))


def test_a_new_question_of_a_table_takes_nothing_from_stored_ones(engine: Engine, database_url: str) -> None:
    load(database_url, "--learner", "7", content=TABLE.encode())
    with engine.begin() as connection:
        for table, values in SAID.items():
            connection.execute(update(table).values(values))
    more = f"{TABLE}q-103;Anatomy;Bones;yes|no;1\n".replace("femur", "Femur")
    assert load(database_url, "--learner", "7", content=more.encode()).exit_code == 0
    assert [row["published_at"] is None for row in rows(engine, PublishedItem)] == [False, False, True]
    assert sorted(row["retired_at"] is None for row in rows(engine, StudyQuestion)) == [False, False, True]


PARTS = b'{"users": [{"id": 1}]}\r\n\f\r\n{"topics": [{"id": 2, "user_id": 1, "name": "\xc3\xa9"}]}\r\n'


@pytest.mark.parametrize(
    "content",
    [
        PARTS,
        codecs.BOM_UTF8 + PARTS,
        PARTS.decode().encode("utf-16"),
        gzip.compress(codecs.BOM_UTF8 + PARTS, mtime=0),
    ],
)
@pytest.mark.parametrize("name", ["-", "catalog.ndjson", "catalog.ndjson.gz", "catalog.jsonl"])
def test_ndjson_is_read_as_other_tools_leave_it(
    engine: Engine, database_url: str, tmp_path: Path, name: str, content: bytes
) -> None:
    if name != "-":
        (tmp_path / name).write_bytes(content)
        name = str(tmp_path / name)
    environment = {"DATABASE_URL": database_url}
    result = CliRunner().invoke(main, ["catalog", "load", name], env=environment, input=content)
    assert result.output == "1 learners, 1 topics, 0 questions, 0 editions\n"
    assert [row["name"] for row in rows(engine, StudyTopic)] == ["é"]


@pytest.mark.parametrize(
    "wrong",
    [b"nonsense", b'{"users": 1}', b'{"users": [}', b'{"users": "\xff"}', b'{"users": 1, "topics": 2}'],
)
def test_a_line_of_ndjson_that_is_wrong_is_named(database_url: str, wrong: bytes) -> None:
    result = load(database_url, content=PARTS + wrong)
    assert result.exit_code == 1
    assert all(each.startswith("line 4: ") for each in result.stderr.removeprefix("Error: ").splitlines())
    assert "line 1" not in result.stderr


def test_nothing_is_written_if_one_row_is_wrong(engine: Engine, database_url: str) -> None:
    before = everything(engine)
    result = load(database_url, "--learner", "7", content=f"{TABLE}q-103;Anatomy;Bones;a|b;C\n".encode())
    assert result.exit_code == 1
    assert "line 5, column key: 'C' names none of the 2 choices" in result.output
    assert everything(engine) == before


def test_a_quiz_is_loaded_and_says_what_it_leaves_out(engine: Engine, database_url: str) -> None:
    other = ITEM.replace('"q-1"', '"q-2"').replace('"single"', '"multiple"')
    content = f"<section>{ITEM}{other}</section>".encode()
    result = load(database_url, "--learner", "7", "--topic", "Travel", content=content)
    assert result.output.splitlines() == [
        "skipped: item q-2: several choices can be right, or no right choice is declared",
        "1 learners, 1 topics, 1 questions, 1 editions",
    ]
    assert [(row["pub_id"], row["correct_choice"]) for row in rows(engine, PublishedItem)] == [("q-1", 1)]
