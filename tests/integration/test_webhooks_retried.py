"""Operators let webhooks that were not delivered be tried again."""

import json

from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from cli.main import main
from shared.models import Outbox
from shared.ops.actions import void_upload
from tests.factories import answer, ingest, load, rows, upload, uuid_of

AT = "2026-11-20T09:00:00Z"


def run(database_url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["webhooks", *words], env={"DATABASE_URL": database_url})


def statuses(engine: Engine) -> list[tuple[str, int]]:
    return sorted((row["status"], row["tries"]) for row in rows(engine, Outbox))


def finish(engine: Engine, status: str, kind: str) -> None:
    statement = """UPDATE outbox SET status = :status, tries = 20, finished_at = now(),
        last_error = '500' WHERE kind = :kind"""
    with engine.begin() as connection:
        connection.execute(text(statement), {"status": status, "kind": kind})


def test_dead_webhooks_are_listed_and_wait_again(engine: Engine, database_url: str) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    finish(engine, "dead", "weak_areas")
    finish(engine, "skipped", "explain_misses")
    (line,) = run(database_url, "list", "--json").stdout.splitlines()
    assert (json.loads(line)["kind"], json.loads(line)["last_error"]) == ("weak_areas", "500")
    assert "weak_areas" in run(database_url, "list").stdout
    assert run(database_url, "retry").stdout == "1 webhooks wait again\n"
    assert statuses(engine) == [("skipped", 20), ("waiting", 0)]
    assert run(database_url, "retry").stdout == "0 webhooks wait again\n"
    assert run(database_url, "retry", "--status", "skipped").stdout == "1 webhooks wait again\n"
    assert statuses(engine) == [("waiting", 0), ("waiting", 0)]
    assert run(database_url, "retry", "--status", "delivered").exit_code == 2


def test_webhooks_of_a_voided_session_stay_as_they_are(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    with engine.begin() as connection:
        void_upload(connection, uuid_of(sent), reason="a test")
    assert run(database_url, "retry", "--status", "skipped").stdout == "0 webhooks wait again\n"
    assert statuses(engine) == [("skipped", 0), ("skipped", 0)]
