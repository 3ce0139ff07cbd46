"""What a command cannot do it says in a line, and what it means."""

from uuid import uuid4

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from cli.context import MAX_DRAWN, print_table
from cli.main import main
from shared.models import Upload
from tests.factories import answer, deliver, load, rows, upload

HOLD = text("SELECT FROM uploads FOR UPDATE")
MARK_DEAD = text("UPDATE uploads SET status = 'dead', last_error = 'x', finalized_at = now()")


def run(database_url: str, *words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, words, env={"DATABASE_URL": database_url} | environment)


@pytest.mark.parametrize("words", [["--error", ""], ["--error", " "]])
def test_an_empty_text_is_a_mistake_and_replays_nothing(
    engine: Engine, database_url: str, words: list[str]
) -> None:
    load(engine)
    deliver(engine, upload(answer("q110", "2026-11-20T09:00:00Z")))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE uploads SET status = 'dead', last_error = 'x', finalized_at = now()"
        )
    result = run(database_url, "uploads", "replay", *words)
    assert (result.exit_code, "must have 1 to 500 characters" in result.stderr) == (2, True)
    assert [row["status"] for row in rows(engine, Upload)] == ["dead"]


def test_to_void_needs_a_reason(database_url: str) -> None:
    assert run(database_url, "uploads", "void", str(uuid4()), "--reason", " ").exit_code == 2


def test_a_row_that_somebody_holds_is_no_store_that_is_away(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", "2026-11-20T09:00:00Z"))
    deliver(engine, sent)
    words = ("uploads", "void", sent["client_session_uuid"], "--reason", "a test")
    with engine.begin() as connection:
        connection.execute(HOLD)
        result = run(database_url, *words, LOCK_TIMEOUT="0.2")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: another process holds a lock that this command needs")
    assert len(result.stderr.splitlines()) == 1


def test_a_database_without_tables_is_named(empty_database_url: str) -> None:
    result = run(empty_database_url, "uploads", "list")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "is the database migrated?" in result.stderr


def test_a_wrong_option_of_the_address_is_no_missing_migration(database_url: str) -> None:
    result = run(f"{database_url}&foo=bar", "uploads", "list")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "foo" in result.stderr
    assert "migrated" not in result.stderr


def test_a_long_list_is_columns_of_the_same_words() -> None:
    rows = [(number, "·" if number % 2 else "a word") for number in range(MAX_DRAWN + 1)]

    @click.command()
    @click.argument("count", type=int)
    def show(count: int) -> None:
        print_table(("number", "what"), rows[:count])

    drawn, plain = (CliRunner().invoke(show, [str(count)]).stdout for count in (MAX_DRAWN, MAX_DRAWN + 1))
    assert [line.split() for line in plain.splitlines()[1 : MAX_DRAWN + 1]] == [
        line.split() for line in drawn.splitlines()[2:]
    ]
    assert len(plain.splitlines()) == MAX_DRAWN + 2


def test_more_than_a_century_is_no_age(database_url: str) -> None:
    assert run(database_url, "uploads", "purge", "--older-than", "36525d", "--dry-run").exit_code == 0
    assert run(database_url, "uploads", "purge", "--older-than", "999999d").exit_code == 2
