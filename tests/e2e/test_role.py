"""Every process and command works by the role of docs/security.md, which can change no table."""

import json
import re
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from cli.client import Sender
from cli.main import main
from shared.config import Settings
from tests import factories
from tests.processes import PATIENCE_S, Processes, until
from tests.receiver import Receiver
from tests.webhooks import configured

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
STUDY = {"Authorization": "Bearer study-token-of-tests"}


@pytest.fixture
def settings(empty_database_url: str, settings: Settings, receiver: Receiver) -> Settings:
    """Make the role as the document says, migrate as the owner, and name the role in DATABASE_URL."""
    (sql,) = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    role = f"role_{uuid4().hex}"  # one for this test: roles are those of the whole server
    owner = empty_database_url.replace("+psycopg", "")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(sql.replace("study_ingest", role).replace(":'password'", "'secret'").encode())
    known = {"DATABASE_URL": "", "MIGRATE_DATABASE_URL": owner}
    by_role = make_url(empty_database_url).set(username=role).render_as_string(hide_password=False)
    ran = CliRunner().invoke(main, ["migrate"], env=known | {"DATABASE_URL": by_role})
    assert ran.exit_code == 0, ran.output
    return configured(settings, database_url=by_role, webhook_url=receiver.url)


def run(settings: Settings, *words: str, code: int = 0) -> str:
    known = {"DATABASE_URL": settings.database_url, "BROKER_URL": settings.broker_url}
    ran = CliRunner().invoke(main, words, env=known, input="y\n")
    assert ran.exit_code == code, ran.output
    return ran.stdout


def test_every_process_and_command_works_by_the_role(
    settings: Settings, house: Processes, viewer: Sender, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "catalog.json"
    file.write_text(json.dumps(factories.CATALOG))
    run(settings, "catalog", "load", str(file))
    for name in ("worker", "sweeper"):
        house.start(name)
    sent = factories.upload(factories.answer("q110", "2026-11-20T09:00:00Z"))
    where = viewer.http.post("/ingest/study/attempts", json=sent).headers["Location"]
    until(lambda: viewer.http.get(where).json()["status"] == "ingested", "it is ingested")
    other = sent | {"attempts": [factories.answer("q111", "2026-11-20T09:00:00Z")]}
    assert viewer.http.post("/ingest/study/attempts", json=other).status_code == 409
    with httpx.Client(base_url=viewer.http.base_url, headers=STUDY, timeout=PATIENCE_S) as live:
        began = live.post("/study/users/1/sessions", json={"study_topic_id": 11})
        assert began.status_code == 201, began.text
        assert live.post(f"{began.headers['Location']}/finalize").is_success
    until(lambda: len(receiver.requests) >= 4, "webhooks are delivered")
    (conflict,) = run(settings, "conflicts", "list", "--json").splitlines()
    run(settings, "conflicts", "accept", str(json.loads(conflict)["id"]))
    until(lambda: "q111" in json.dumps(viewer.http.get(where).json()["result"]), "the other is ingested")
    run(settings, "uploads", "void", sent["client_session_uuid"], "--reason", "a test")
    run(settings, "uploads", "unvoid", sent["client_session_uuid"])
    changed = factories.question(111, correct_choice=0)
    file.write_text(json.dumps({"questions": [changed]}))
    run(settings, "catalog", "load", "--force", str(file))
    assert "0 differences" in run(settings, "verify", "--repair")
    run(settings, "uploads", "purge", "--older-than", "1s")
    run(settings, "webhooks", "retry", "--status", "skipped")
    run(settings, "stats", "--json")
    run(settings, "learners", "delete", "1")


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE uploads",
        "TRUNCATE uploads",
        "ALTER TABLE uploads ADD COLUMN planted text",
        "CREATE TABLE planted ()",
        "CREATE TRIGGER planted BEFORE INSERT ON uploads FOR EACH ROW EXECUTE FUNCTION keep_updated_at()",
        "COPY uploads TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_role_can_change_no_table_and_reach_no_file(settings: Settings, statement: str) -> None:
    engine = create_engine(settings.database_url)
    with (
        engine.connect() as connection,
        pytest.raises(ProgrammingError, match=r"must be owner|permission denied"),
    ):
        connection.execute(text(statement))
    engine.dispose()
