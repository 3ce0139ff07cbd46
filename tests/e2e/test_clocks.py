"""Clocks of hosts that are two days off move no learner's answer, and make nothing too old or too young."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from cli.client import Answer, Sender
from cli.local.servers import Servers
from shared.models import Outbox, StudyQuestionAttempt, StudyQuizSession, Upload
from tests import factories
from tests.clients import STUDY_TOKEN
from tests.factories import answer, question, rows, upload
from tests.faults import frozen, wrong_clock
from tests.processes import PATIENCE_S, Processes, until
from tests.receiver import NEW_SECRET, Receiver, status

OFFSETS = ["-2d", "+2d"]
TOKEN = "viewer-token-of-tests"
NEAR = timedelta(minutes=5)


def is_near(at: datetime) -> bool:
    return abs(at - datetime.now(UTC)) < NEAR


def beat(engine: Engine) -> datetime:
    with engine.connect() as connection:
        found: datetime = connection.execute(text("SELECT max(beaten_at) FROM heartbeats")).scalar_one()
    return found


def age(engine: Engine, column: str, by: str) -> None:
    """Make a time of the first upload older, of the second twice as much."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE uploads SET {column} = now() - row_number * interval '{by}'"  # noqa: S608  # ours
            " FROM (SELECT ctid, row_number() OVER () FROM uploads) AS n WHERE n.ctid = uploads.ctid"
        )


def run(house: Processes, command: str, offset: str, **environment: str) -> str:
    """Run a command on a host with a wrong clock; return its output."""
    started = house.start("command", command, **environment, **wrong_clock(offset))
    assert started.wait(PATIENCE_S) == 0, house.output("command")
    del house.running["command"]
    return house.output("command")


def answered_now() -> dict[str, Any]:
    now = datetime.now(UTC)
    return upload(answer("q110", now.isoformat()), sent_at=now.isoformat())


@pytest.mark.parametrize("offset", OFFSETS)
def test_I3_an_upload_through_a_web_host_with_a_wrong_clock(
    engine: Engine, house: Processes, servers: Servers, offset: str
) -> None:
    factories.load(engine)
    uploads = [answered_now(), answered_now()]
    clock = wrong_clock(offset)
    with Sender(house.serve(**clock), TOKEN) as viewer:
        assert viewer.send(factories.body(uploads[0])).answer is Answer.RECEIVED
        with frozen(servers.postgres.pid):  # the second goes through the spool
            assert viewer.send(factories.body(uploads[1])).answer is Answer.RECEIVED
        for name in ("worker", "sweeper"):
            house.start(name, **clock)
        until(lambda: factories.statuses(engine) == ["ingested"] * 2, "both are ingested")
        live = f"{viewer.http.base_url}/study/users/1/sessions"
        session = viewer.http.post(live, json={"study_topic_id": 12}, headers=STUDY_TOKEN).json()
        first = {"pub_id": session["questions"][0]["pub_id"], "selected": 0, "unsure": False}
        place = f"{live}/{session['session_id']}"
        assert viewer.http.post(f"{place}/attempts", json=first, headers=STUDY_TOKEN).is_success
        # The sweeper's clock does not make the session idle, either.
        swept = beat(engine)
        until(lambda: beat(engine) > swept + timedelta(seconds=2), "some more sweeps")
        assert viewer.http.get(place, headers=STUDY_TOKEN).json()["status"] == "in_progress"
    for row in rows(engine, Upload):
        assert is_near(row["received_at"])
        assert is_near(row["finalized_at"])
    attempts = rows(engine, StudyQuestionAttempt)
    assert len(attempts) == 3
    assert all(is_near(each["answered_at"]) and not each["clock_adjusted"] for each in attempts)


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_clock_of_postgres_says_when_an_upload_was_voided(
    engine: Engine, house: Processes, offset: str
) -> None:
    factories.load(engine)
    factories.ingest(engine, sent := answered_now())
    command = f"study-ingest uploads void {sent['client_session_uuid']} --reason test"
    run(house, command, offset)
    assert [is_near(row["voided_at"]) for row in rows(engine, StudyQuizSession)] == [True]


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_clock_of_postgres_decides_what_is_old_enough_to_be_purged(
    engine: Engine, house: Processes, offset: str
) -> None:
    factories.load(engine)
    for _ in range(2):
        factories.ingest(engine, answered_now())
    age(engine, "finalized_at", "23 hours")
    purged = run(house, "study-ingest uploads purge --older-than 24h --status ingested", offset)
    assert "1 payloads purged" in purged
    kept = [row["payload"] is not None for row in rows(engine, Upload)]
    assert sorted(kept) == [False, True]


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_clock_of_postgres_says_what_came_in_the_last_hour(
    engine: Engine, house: Processes, offset: str
) -> None:
    factories.load(engine)
    for _ in range(2):
        factories.ingest(engine, answered_now())
    age(engine, "received_at", "50 minutes")
    assert '"last_hour": {"received": 1,' in run(house, "study-ingest stats --json", offset)


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_clock_of_postgres_says_what_a_sync_takes_for_retired(
    engine: Engine, house: Processes, tmp_path: Path, offset: str
) -> None:
    now = datetime.now(UTC)
    retired = {110: now - timedelta(days=1), 111: now + timedelta(days=1)}
    questions = [
        question(number, retired_at=at.isoformat(), pub_id=f"q{number}") for number, at in retired.items()
    ]
    catalog = factories.CATALOG | {"questions": questions}
    factories.load(engine, catalog)
    file = tmp_path / "catalog.json"
    file.write_text(json.dumps(catalog))
    token = {"CATALOG_TOKEN": "catalog-token-of-tests"}
    command = f"study-ingest catalog sync {file} --url {house.serve(**token)}"
    synced = run(house, command, offset, **token)
    assert "0 of 6 topics differed: 0 questions sent, 0 withdrawn" in synced


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_receiver_accepts_what_a_sweeper_with_a_wrong_clock_signs(
    engine: Engine, house: Processes, receiver: Receiver, offset: str
) -> None:
    """A date in `Retry-After` is no sooner or later for it, either."""
    factories.load(engine)
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
    receiver.then(status(503, b"", **{"Retry-After": soon}), status(200))
    factories.ingest(engine, answered_now())
    sending = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRETS": NEW_SECRET}
    house.start("sweeper", **sending, **wrong_clock(offset))
    until(lambda: {row["status"] for row in rows(engine, Outbox)} == {"delivered"}, "they are delivered")
    assert len(receiver.verified()) > len(rows(engine, Outbox))
