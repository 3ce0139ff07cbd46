"""What an operator types and Postgres cannot take is wrong usage, named in a line."""

from uuid import uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from cli.main import main

TOO_MUCH = str(2**63)
UUID = str(uuid4())


@pytest.mark.parametrize(
    "words",
    [
        ["uploads", "list", "--learner", TOO_MUCH],
        *(["uploads", "list", option, word] for option in ("--error", "--question") for word in "\0\udcff"),
        *(["uploads", "replay", "--error", word] for word in "\0\udcff"),
        *(["uploads", "void", UUID, "--reason", word] for word in "\0\udcff"),
        *([group, "list", "--limit", TOO_MUCH] for group in ("uploads", "conflicts", "webhooks")),
        *(["conflicts", command, TOO_MUCH] for command in ("show", "discard", "accept")),
        ["progress", "--user", TOO_MUCH],
    ],
)
def test_what_postgres_cannot_take_is_wrong_usage(engine: Engine, words: list[str]) -> None:
    url = engine.url.render_as_string(hide_password=False)
    result = CliRunner().invoke(main, words, env={"DATABASE_URL": url}, input="y\n")
    assert (result.exit_code, "Invalid value" in result.stderr) == (2, True), result.output


def test_the_greatest_number_is_taken(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    words = ["uploads", "list", "--learner", str(2**63 - 1), "--limit", str(2**63 - 1), "--error", "é"]
    assert CliRunner().invoke(main, words, env={"DATABASE_URL": url}).exit_code == 0
