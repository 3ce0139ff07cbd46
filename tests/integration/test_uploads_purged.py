"""Payloads are purged; what was taken in stays known."""

import subprocess

from click.testing import CliRunner
from sqlalchemy import Engine

from cli.main import main
from shared.models import Upload
from shared.uploads import Verdict
from tests.world import WRONG, answer, deliver, ingest, load, progress, rows, upload

AT = "2026-11-20T09:00:00Z"


def run(database_url: str, *words: str) -> str:
    result = CliRunner().invoke(main, words, env={"DATABASE_URL": database_url})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_I8_what_was_purged_is_still_known(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)  # at a time in the future: not due yet
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE uploads SET finalized_at = now() - interval '91 days'")
    waiting, refused = upload(answer("q120", AT)), upload(answer("q999", AT))
    deliver(engine, waiting)
    ingest(engine, refused)
    left = progress(engine)
    assert "0 payloads" in run(database_url, "uploads", "purge", "--older-than", "92d")
    assert "1 payloads would" in run(database_url, "uploads", "purge", "--older-than", "90d", "--dry-run")
    assert sum(row["payload"] is None for row in rows(engine, Upload)) == 0
    assert "1 payloads purged" in run(database_url, "uploads", "purge", "--older-than", "90d")
    assert sum(row["payload"] is None for row in rows(engine, Upload)) == 1
    assert deliver(engine, sent).verdict is Verdict.INGESTED
    assert deliver(engine, sent | {"attempts": [answer("q110", AT, WRONG)]}).verdict is Verdict.CONFLICT
    assert progress(engine) == left


def test_conflicts_are_listed_and_discarded(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    deliver(engine, sent | {"attempts": [answer("q110", AT, WRONG)]})
    assert sent["client_session_uuid"] in run(database_url, "conflicts", "list")
    assert sent["client_session_uuid"] in run(database_url, "conflicts", "show", "1")
    assert "waits" in run(database_url, "conflicts", "accept", "1")
    assert run(database_url, "conflicts", "discard", "2", "--yes") == "discarded\n"
    assert run(database_url, "conflicts", "list", "--json") == ""


def test_bash_accepts_its_completion() -> None:
    script = CliRunner().invoke(main, ["completion", "bash"]).stdout
    assert "_STUDY_INGEST_COMPLETE" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)  # noqa: S607  # the bash of PATH
