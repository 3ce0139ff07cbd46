"""Operators replay failed uploads, and try it first: a dry run changes nothing."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from cli.main import main
from shared.models import StudyQuestionAttempt, Upload
from shared.ops.actions import void_upload
from shared.uploads import lock
from tests.factories import (
    CATALOG,
    WRONG,
    answer,
    deliver,
    everything,
    ingest,
    load,
    progress,
    question,
    rows,
    standing,
    upload,
    uuid_of,
    work_off,
)

AT, LATER = "2026-11-20T09:00:00Z", "2026-11-21T09:00:00Z"
Sent = dict[str, Any]
LARGER = dict(CATALOG) | {"questions": [*CATALOG["questions"], question(112, "q999")]}


def run(database_url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["uploads", "replay", *words], env={"DATABASE_URL": database_url})


def row(engine: Engine, sent: Sent) -> dict[str, Any]:
    return next(each for each in rows(engine, Upload) if each["client_session_uuid"] == uuid_of(sent))


@pytest.fixture
def rejected(engine: Engine) -> Sent:
    load(engine)
    sent = upload(answer("q999", AT))
    ingest(engine, sent)
    return sent


@pytest.fixture
def dead(engine: Engine) -> Sent:
    load(engine)
    sent = upload(answer("q110", AT), answer("q120", AT, WRONG))
    deliver(engine, sent)
    mark_dead(engine, sent)
    return sent


def mark_dead(engine: Engine, sent: Sent) -> None:
    statement = """UPDATE uploads SET status = 'dead', tries = 5, finalized_at = now(),
        last_error = 'KeyError at a' WHERE client_session_uuid = :id"""
    with engine.begin() as connection:
        connection.execute(text(statement), {"id": uuid_of(sent)})


def purge(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET payload = NULL"))


def test_a_dead_upload_is_set_back_with_all_tries_ahead(
    engine: Engine, database_url: str, dead: Sent
) -> None:
    result = run(database_url, dead["client_session_uuid"])
    assert (result.exit_code, "set back" in result.stdout) == (0, True)
    now = row(engine, dead)
    assert (now["status"], now["tries"], now["finalized_at"]) == ("received", 0, None)
    assert now["last_error"] == "KeyError at a"
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT next_try_at <= now() FROM uploads"))
    assert "waiting already" in run(database_url, dead["client_session_uuid"]).stdout
    work_off(engine, dead)
    assert standing(engine, dead).status == "ingested"


def test_a_rejected_upload_is_replayed_once_the_catalog_knows_its_questions(
    engine: Engine, database_url: str, rejected: Sent
) -> None:
    load(engine, LARGER)
    assert run(database_url, "--status", "rejected").stdout == "1 set back\n"
    assert row(engine, rejected)["last_error"] == "rejected: unknown_questions"
    work_off(engine, rejected)
    found = standing(engine, rejected)
    assert (found.status, found.reason) == ("ingested", None)


def test_many_are_set_back_by_status_and_error(
    engine: Engine, database_url: str, rejected: Sent, dead: Sent
) -> None:
    assert run(database_url, "--status", "dead", "--error", "unknown_questions").stdout == "none found\n"
    assert run(database_url, "--error", "keyerror").stdout == "1 set back\n"
    assert [row(engine, each)["status"] for each in (rejected, dead)] == ["rejected", "received"]


def test_an_ingested_upload_stays_as_it_is(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    for how in ("ingested already", "ingested already (void)"):
        before = everything(engine)
        for words in ([], ["--dry-run"]):
            result = run(database_url, sent["client_session_uuid"], *words)
            assert (result.exit_code, result.stdout) == (0, f"{sent['client_session_uuid']} {how}\n")
        assert everything(engine) == before
        with engine.begin() as connection:
            void_upload(connection, uuid_of(sent), reason="lent")


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_a_purged_upload_is_refused(engine: Engine, database_url: str, dead: Sent, words: list[str]) -> None:
    purge(engine)
    before = everything(engine)
    result = run(database_url, dead["client_session_uuid"], *words)
    assert (result.exit_code, "is deleted" in result.stderr) == (1, True)
    assert everything(engine) == before


def test_among_many_the_purged_are_counted_and_no_failure(
    engine: Engine, database_url: str, dead: Sent
) -> None:
    purge(engine)
    other = upload(answer("q110", AT))
    deliver(engine, other)
    mark_dead(engine, other)
    tried = run(database_url, "--status", "dead", "--dry-run")
    assert (tried.exit_code, "1 uploads, 0 refused, 1 left out (purged)" in tried.stdout) == (0, True)
    result = run(database_url, "--status", "dead")
    assert (result.exit_code, result.stdout) == (0, "1 set back, 1 left out (purged)\n")
    assert [row(engine, each)["status"] for each in (dead, other)] == ["dead", "received"]
    again = run(database_url, "--status", "dead")
    assert (again.exit_code, again.stdout) == (0, "1 left out (purged)\n")


def test_the_unknown_and_wrong_usage(database_url: str) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    for words in ([], ["--skipped"], ["--dry-run"]):
        result = run(database_url, unknown, *words)
        assert (result.exit_code, "there is no upload" in result.stderr) == (1, True)
    for words in ([], ["--skipped"], [unknown, "--status", "dead"], ["--status", "ingested"]):
        assert run(database_url, *words).exit_code == 2


def test_a_dry_run_shows_what_a_replay_then_does_and_changes_nothing(
    engine: Engine, database_url: str, dead: Sent
) -> None:
    ingest(engine, upload(answer("q110", LATER)))
    before = everything(engine)
    shown = run(database_url, dead["client_session_uuid"], "--dry-run")
    assert shown.exit_code == 0
    assert everything(engine) == before
    cards = {line.split()[0]: line for line in shown.stdout.splitlines() if line.startswith("q1")}
    assert cards.keys() == {"q110", "q120"}
    old = {each["study_question_id"]: each for each in before["study_question_progress"]}[110]
    run(database_url, dead["client_session_uuid"])
    work_off(engine, dead)
    new = {each["study_question_id"]: each for each in everything(engine)["study_question_progress"]}
    assert f"{old['stability']:.2f} → {new[110]['stability']:.2f}" in cards["q110"]
    assert f"{old['due']} → {new[110]['due']}" in cards["q110"]
    assert f"new → {new[120]['due']}" in cards["q120"]
    assert "new → open" in cards["q120"]


def test_a_dry_run_names_the_rejection(engine: Engine, database_url: str, rejected: Sent) -> None:
    before = everything(engine)
    shown = run(database_url, "--status", "rejected", "--dry-run")
    assert (shown.exit_code, "would be rejected (unknown_questions)" in shown.stdout) == (0, True)
    assert everything(engine) == before
    assert progress(engine) == []
    assert row(engine, rejected)["status"] == "rejected"


def test_a_dry_run_gives_way_to_a_replay(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    deliver(engine, sent)
    with engine.begin() as worker:
        assert lock(worker, [uuid_of(sent)])
        shown = run(database_url, sent["client_session_uuid"], "--dry-run")
    assert (shown.exit_code, "or its learner: try again" in shown.stderr) == (1, True)
    assert "55P03" not in shown.stderr


def test_a_dry_run_quotes_nothing_of_a_payload_that_cannot_be_read(
    engine: Engine, database_url: str, dead: Sent
) -> None:
    with engine.begin() as connection:
        connection.execute(text("""UPDATE uploads SET payload = '{"attempts": ["secret"]}'"""))
    shown = run(database_url, dead["client_session_uuid"], "--dry-run")
    assert (shown.exit_code, "a replay would fail now" in shown.stderr) == (1, True)
    assert "secret" not in shown.output


RESET = "2020-11-08T09:00:00Z"  # what a clock said that was reset, twelve days and six years before AT


def test_a_stated_shift_of_the_clock_is_tried_first_kept_and_flagged(
    engine: Engine, database_url: str
) -> None:
    load(engine)
    given = datetime.fromisoformat(RESET) + timedelta(days=6 * 365 + 14)
    right, wrong = upload(answer("q110", given.isoformat())), upload(answer("q110", RESET))
    ingest(engine, right)
    expected = progress(engine)
    with engine.begin() as connection:
        void_upload(connection, uuid_of(right), reason="a test")
    ingest(engine, wrong)
    before = progress(engine)
    assert before != expected

    words = (wrong["client_session_uuid"], "--shift-clock", "+6y14d")
    tried = run(database_url, *words, "--dry-run")
    assert (tried.exit_code, "would be ingested" in tried.stdout, progress(engine)) == (0, True, before)
    asked = run(database_url, *words)
    assert (asked.exit_code, progress(engine)) == (1, before)  # nobody answered the question
    done = run(database_url, *words, "--yes")
    assert (done.exit_code, "replayed again" in done.stdout) == (0, True), done.output
    assert progress(engine) == expected
    assert row(engine, wrong)["clock_shift"] == timedelta(days=6 * 365 + 14)
    # The superseded attempt is flagged, too: its time lies years before its arrival.
    adjusted = [each for each in rows(engine, StudyQuestionAttempt) if each["clock_adjusted"]]
    _, attempt = sorted(adjusted, key=lambda each: each["study_quiz_session_id"])
    assert (attempt["answered_at"], attempt["answered_at_raw"]) == (given, datetime.fromisoformat(RESET))


@pytest.mark.parametrize("shift", ["6y", "+", "+1w", "-1h2d"])
def test_a_shift_that_cannot_be_read_is_wrong_usage(database_url: str, shift: str) -> None:
    assert run(database_url, str(uuid4()), "--shift-clock", shift).exit_code == 2


def test_a_rejected_upload_waits_with_its_shift(engine: Engine, database_url: str) -> None:
    load(engine)
    sent = upload(answer("q110", "1999-01-01T00:00:00Z"))
    ingest(engine, sent)
    assert standing(engine, sent).reason == "no_usable_attempt"
    done = run(database_url, sent["client_session_uuid"], "--shift-clock", "+27y", "--yes")
    assert (done.exit_code, "set back" in done.stdout) == (0, True), done.output
    work_off(engine, sent)
    assert standing(engine, sent).status == "ingested"
