"""The time zone of learners who have none is the database's, whatever a host or a shell has (or lacks)."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.main import main
from shared.data_settings import record_zone
from shared.models import DataSetting, StudyQuestionAttempt, StudyQuestionProgress
from tests.factories import answer, ingest, load, rows, upload, uuid_of
from tests.processes import PATIENCE_S, ROOT

# In Seoul it is the next study date already.
LATE = "2026-11-20T23:00:00Z"
SEOUL, UTC_DATE, SEOUL_DATE = "Asia/Seoul", "2026-11-20", "2026-11-21"


def run(database_url: str, *words: str, zone: str = "") -> Result:
    return CliRunner().invoke(main, words, env={"DATABASE_URL": database_url, "STUDY_TIME_ZONE": zone})


def recorded(engine: Engine) -> list[str]:
    return [row["value"] for row in rows(engine, DataSetting)]


def test_the_first_is_recorded_and_another_does_not_start(engine: Engine, database_url: str) -> None:
    assert run(database_url, "migrate").exit_code == 0
    assert run(database_url, "verify", zone="Asia/Tokyo").exit_code == 0
    assert recorded(engine) == [], "neither what nobody has set, nor what a command has"
    assert run(database_url, "migrate", zone=SEOUL).exit_code == 0
    assert recorded(engine) == [SEOUL]
    refused = run(database_url, "verify", zone="Europe/Paris")
    assert refused.exit_code == 1
    assert "is Europe/Paris here, but Asia/Seoul in the database" in refused.stderr
    assert run(database_url, "verify").exit_code == 0


@pytest.mark.parametrize("unknown", ["Mars/Olympus_Mons", "posix/Asia/Seoul", "localtime"])
def test_a_default_that_another_host_knew_fails_no_replay(engine: Engine, unknown: str) -> None:
    load(engine)
    with engine.begin() as connection:
        record_zone(connection, unknown, replace=True)
    assert ingest(engine, upload(answer("q110", LATE))).status == "ingested"
    (attempt,) = rows(engine, StudyQuestionAttempt)
    assert str(attempt["study_date"]) == UTC_DATE


def test_a_stored_zone_that_is_no_iana_name_is_refused_until_it_is_replaced(
    engine: Engine, database_url: str
) -> None:
    with engine.begin() as connection:
        record_zone(connection, "posix/Asia/Seoul", replace=True)
    for zone in ("", SEOUL):
        refused = run(database_url, "verify", zone=zone)
        assert refused.exit_code == 1
        assert "the database has posix/Asia/Seoul, which is not an IANA time zone" in refused.stderr
    assert run(database_url, "migrate", "--time-zone", SEOUL).exit_code == 0
    assert run(database_url, "verify").exit_code == 0


def test_a_replay_and_a_void_date_by_the_database(engine: Engine, database_url: str) -> None:
    load(engine)
    with engine.begin() as connection:
        record_zone(connection, SEOUL, replace=True)
    sent, other = (upload(answer("q110", at)) for at in (LATE, "2026-11-19T09:00:00Z"))
    for each in (sent, other):
        ingest(engine, each, datetime.now(UTC))
    dates = {str(row["study_date"]) for row in rows(engine, StudyQuestionAttempt)}
    assert dates == {SEOUL_DATE, "2026-11-19"}
    assert run(database_url, "uploads", "void", str(uuid_of(other)), "--reason", "a test").exit_code == 0
    (progress,) = rows(engine, StudyQuestionProgress)
    assert str(progress["last_study_date"]) == SEOUL_DATE


def test_a_change_is_asked_for_and_moves_later_answers_alone(engine: Engine, database_url: str) -> None:
    load(engine)
    assert run(database_url, "migrate", zone="UTC").exit_code == 0
    ingest(engine, upload(answer("q110", LATE)), datetime.now(UTC))
    assert run(database_url, "migrate", "--time-zone", SEOUL).exit_code == 0
    assert recorded(engine) == [SEOUL]
    ingest(engine, upload(answer("q111", LATE)), datetime.now(UTC))
    dates = {row["pub_id"]: str(row["study_date"]) for row in rows(engine, StudyQuestionAttempt)}
    assert dates == {"q110": UTC_DATE, "q111": SEOUL_DATE}
    wrong = run(database_url, "migrate", "--time-zone", "Asia")
    assert (wrong.exit_code, "STUDY_TIME_ZONE: 'Asia' is not" in wrong.stderr) == (1, True)


@pytest.mark.parametrize("module", ["worker.app", "worker.sweeper", "api"])
def test_a_process_with_another_zone_does_not_start(
    engine: Engine, database_url: str, broker_url: str, module: str
) -> None:
    with engine.begin() as connection:
        record_zone(connection, SEOUL, replace=True)
    stores = {"DATABASE_URL": database_url, "BROKER_URL": broker_url, "PORT": "0"}
    ran = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=os.environ | stores | {"STUDY_TIME_ZONE": "UTC"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ran.returncode != 0
    assert "is UTC here, but Asia/Seoul in the database" in ran.stderr
