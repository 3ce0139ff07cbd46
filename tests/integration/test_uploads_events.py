"""What happened to an upload stays known, whatever is done with it later."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from cli.main import main
from shared.config import Settings
from shared.health import read_state
from shared.ops.reports import UploadReport, report_upload
from shared.retries import StartResult, count_start, fail
from tests.factories import NOW, answer, deliver, ingest, load, standing, upload, uuid_of, work_off

AT = "2026-11-20T09:00:00Z"
FAILURE = "KeyError at shared/plan.py:40 make_plan"


def report(engine: Engine, sent: dict[str, object]) -> UploadReport:
    with engine.connect() as connection:
        return report_upload(connection, uuid_of(sent))


def kinds(engine: Engine, sent: dict[str, object]) -> list[str]:
    return [moment.what for moment in report(engine, sent).timeline]


def run(database_url: str, *arguments: str) -> Result:
    environment = {"DATABASE_URL": database_url, "SUDO_USER": "alice"}
    ran = CliRunner().invoke(main, arguments, env=environment)
    assert ran.exit_code == 0, ran.output
    return ran


def kill(engine: Engine, sent: dict[str, object], settings: Settings) -> None:
    """Let every try of a received upload fail."""
    with engine.begin() as connection:
        while not fail(connection, uuid_of(sent), FAILURE, settings):
            count_start(connection, uuid_of(sent), max_tries=settings.max_tries)


def test_an_upload_that_goes_well_has_no_event(engine: Engine) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    found = report(engine, sent)
    assert (kinds(engine, sent), found.events) == (["received", "ingested"], [])


def test_a_replay_does_not_erase_that_the_upload_was_dead(
    engine: Engine, database_url: str, settings: Settings
) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    deliver(engine, sent, datetime.now(UTC))
    kill(engine, sent, settings.model_copy(update={"max_tries": 2}))
    run(database_url, "uploads", "replay", str(uuid_of(sent)))
    assert kinds(engine, sent) == ["received", "failed", "failed", "dead", "replayed", "next try"]
    work_off(engine, sent)
    assert kinds(engine, sent) == ["received", "failed", "failed", "dead", "replayed", "ingested"]
    _, failed, _, dead, replayed, ended = report(engine, sent).timeline
    assert (failed.detail, failed.actor, dead.detail) == (FAILURE, None, "2 tries")
    assert replayed.actor == "alice (command)"
    assert ended.at == NOW
    shown = run(database_url, "uploads", "show", str(uuid_of(sent))).stdout
    assert "alice (command)" in shown
    assert FAILURE in shown


def test_tries_that_killed_their_workers_end_in_dead(engine: Engine) -> None:
    sent = upload(answer("q110", AT))
    deliver(engine, sent, datetime.now(UTC))
    with engine.begin() as connection:
        while count_start(connection, uuid_of(sent), max_tries=3) is not StartResult.DEAD:
            pass
    assert kinds(engine, sent) == ["received", "dead"]


def test_a_rejected_upload_tells_why_also_after_its_replay(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q999", AT))
    ingest(engine, sent, datetime.now(UTC))
    run(database_url, "uploads", "replay", str(uuid_of(sent)))
    events = {event.what: event for event in report(engine, sent).events}
    assert events["rejected"] == (NOW, "rejected", "unknown_questions", None)
    assert events["replayed"].actor == "alice (command)"


def test_new_content_for_a_rejected_upload_keeps_when_the_first_came(engine: Engine) -> None:
    load(engine)
    early, late = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 2, tzinfo=UTC)
    sent = upload(answer("q999", AT))
    ingest(engine, sent, early)
    deliver(engine, sent | {"attempts": [answer("q110", AT)]}, late)
    times = [moment.at for moment in report(engine, sent).timeline if moment.what == "received"]
    assert times == [early, late]


def test_voiding_names_reason_and_operator_and_stays_after_unvoiding(
    engine: Engine, database_url: str
) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    uuid = str(uuid_of(sent))
    run(database_url, "uploads", "void", uuid, "--reason", "lent to a friend")
    assert kinds(engine, sent).count("voided") == 1
    run(database_url, "uploads", "unvoid", uuid)
    run(database_url, "uploads", "unvoid", uuid)
    voided, unvoided = report(engine, sent).events
    assert (voided.what, voided.detail, voided.actor) == ("voided", "lent to a friend", "alice (command)")
    assert (unvoided.what, unvoided.actor) == ("unvoided", "alice (command)")


@pytest.mark.parametrize("decision", ["accept", "discard"])
def test_a_decided_conflict_leaves_what_came_when(engine: Engine, database_url: str, decision: str) -> None:
    load(engine)
    first, second = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 2, tzinfo=UTC)
    sent = upload(answer("q110", AT))
    ingest(engine, sent, first)
    deliver(engine, sent | {"attempts": [answer("q120", AT)]}, second)
    (conflict,) = report(engine, sent).conflicts
    options = ["--yes"] if decision == "discard" else []
    run(database_url, "conflicts", decision, str(conflict.id), *options)
    found = report(engine, sent)
    assert [moment.at for moment in found.timeline if moment.what == "received"] == [first, second]
    assert (NOW, "ingested") in {moment[:2] for moment in found.timeline}
    (decided,) = [moment for moment in found.events if moment.what == f"{decision}ed"]
    assert decided.actor == "alice (command)"


def test_purging_is_an_event_of_each_upload(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = [upload(answer("q110", AT)) for _ in range(3)]
    for each in sent:
        ingest(engine, each)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET finalized_at = now() - interval '2 days'"))
    run(database_url, "uploads", "purge", "--older-than", "1d")
    for each in sent:
        assert report(engine, each).events[-1][1:] == ("purged", None, "alice (command)")


def test_replaying_with_a_shifted_clock_keeps_the_first_end(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent, datetime.now(UTC))
    run(database_url, "uploads", "replay", str(uuid_of(sent)), "--shift-clock", "-1h", "--yes")
    found = report(engine, sent)
    assert {"ingested", "replayed"} <= {moment.what for moment in found.events}
    assert (NOW, "ingested") in {moment[:2] for moment in found.events}
    assert any("-1" in (moment.detail or "") for moment in found.events)


def test_the_wait_begins_when_the_upload_can_be_worked_off(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q999", AT))
    ingest(engine, sent, datetime.now(UTC) - timedelta(days=3))
    run(database_url, "uploads", "replay", str(uuid_of(sent)))
    assert standing(engine, sent).status == "received"
    spooled = upload(answer("q110", AT))
    deliver(engine, spooled, datetime.now(UTC) - timedelta(hours=5))
    with engine.connect() as connection:
        assert (read_state(connection).oldest_age or 0) < 60
