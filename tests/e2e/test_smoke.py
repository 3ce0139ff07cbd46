"""After a deploy: a synthetic session is learned from exactly once, or the command says what is wrong."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from cli.client import Sender
from cli.main import main
from cli.smoke import LEARNER, new_session
from shared.models import StudyQuestionProgress, StudyQuizSession, User
from tests.factories import ANN, answer, ingest, load, progress, rows, upload
from tests.processes import Processes

Smoke = Callable[..., Result]

TWICE = text("""
    CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.reviews := 2; RETURN NEW; END $$;
    CREATE TRIGGER twice BEFORE INSERT ON study_question_progress FOR EACH ROW EXECUTE FUNCTION twice()
""")


@pytest.fixture
def smoke(house: Processes, viewer: Sender) -> Smoke:
    """Run the command against a web process and a worker."""
    house.start("worker")
    known = {"DATABASE_URL": house.settings.database_url, "VIEWER_SYNC_TOKEN": "viewer-token-of-tests,older"}

    def run(*words: str, **environment: str) -> Result:
        command = ["smoke", "--url", str(viewer.http.base_url), *words]
        return CliRunner().invoke(main, command, env=known | environment)

    return run


def steps(result: Result) -> list[str]:
    """Return each line up to its colon, without its fix."""
    return [line.split(":")[0] for line in result.stdout.splitlines() if not line.startswith(" ")]


def test_I2_a_system_that_works_passes_again_and_again_until_its_worker_stops(
    engine: Engine, house: Processes, smoke: Smoke
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", "2026-11-20T09:00:00Z")))
    before = progress(engine)
    passed = ["ok   ready", "ok   sent", "ok   replayed", "ok   sent again", "ok   learned", "ok   voided"]
    for _ in range(2):
        result = smoke()
        assert (steps(result), result.exit_code) == (passed, 0), result.output
    assert progress(engine) == before
    sessions = {row["user_id"]: row for row in rows(engine, StudyQuizSession)}
    assert (sessions[ANN]["voided_at"], sessions[LEARNER]["voided_at"] is None) == (None, False)
    refused = smoke(VIEWER_SYNC_TOKEN="wrong")
    assert (steps(refused), refused.exit_code) == (["ok   ready", "fail sent"], 1)
    assert "401" in refused.stdout
    assert "VIEWER_SYNC_TOKEN" in refused.stdout
    for wrong in ("nan", "inf", "0"):
        assert smoke("--patience", wrong).exit_code == 2

    house.kill("worker")
    stopped = smoke("--patience", "0.5")
    assert (steps(stopped), stopped.exit_code) == (["ok   ready", "ok   sent", "fail replayed"], 1)
    left, body = new_session()
    ingest(engine, json.loads(body))
    again = smoke("--patience", "0.5")
    assert (steps(again), again.exit_code) == (["fail ready"], 1)
    sessions_left = [row for row in rows(engine, StudyQuizSession) if row["client_session_uuid"] == str(left)]
    assert [row["voided_at"] is None for row in sessions_left] == [False]

    house.start("worker")
    house.start("sweeper")
    later = smoke()
    assert (steps(later), later.exit_code) == (passed, 0), later.output
    assert "1 sessions of earlier runs voided" in later.stdout
    assert progress(engine) == before
    assert [
        row for row in rows(engine, StudyQuizSession) if row["voided_at"] is None and row["user_id"] != ANN
    ] == []


def test_a_system_that_counts_twice_fails_and_no_row_stays(engine: Engine, smoke: Smoke) -> None:
    with engine.begin() as connection:
        connection.execute(TWICE)
    result = smoke()
    assert (steps(result)[-1], result.exit_code) == ("fail learned", 1), result.output
    assert rows(engine, StudyQuestionProgress) == []
    assert [row["id"] for row in rows(engine, User)] == [LEARNER]
