"""Payloads are purged; what was taken in stays known."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from cli.main import main
from shared.models import Base, StudyQuestionAttempt, Upload, UploadConflict
from shared.retention import purge
from shared.uploads import Status, Verdict
from tests.factories import (
    ARRIVAL,
    BEN,
    WRONG,
    answer,
    deliver,
    ingest,
    load,
    progress,
    rows,
    standing,
    upload,
    uuid_of,
    work_off,
)

AT = "2026-11-20T09:00:00Z"
LIMIT = timedelta(days=90)

AGE = text("""
    WITH conflicts AS (UPDATE upload_conflicts SET received_at = now() - interval '91 days')
    UPDATE uploads SET finalized_at = now() - interval '91 days' WHERE status <> 'received'
""")
FAIL = text("""
    UPDATE uploads SET status = :status, tries = 5, finalized_at = now() - interval '91 days',
        reason = CASE WHEN :status = 'rejected' THEN 'unknown_questions' END
""")
HOLD = text("SELECT FROM uploads WHERE client_session_uuid = :uuid FOR NO KEY UPDATE")
REFILL = text("UPDATE uploads SET payload = '{}' WHERE client_session_uuid = :uuid")


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


@pytest.mark.parametrize("status", ["dead", "rejected"])
def test_I1_what_failed_and_was_purged_is_kept_again_when_it_is_sent_again(
    engine: Engine, database_url: str, status: str
) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    deliver(engine, sent)
    with engine.begin() as connection:
        connection.execute(FAIL, {"status": status})
    words = ("uploads", "purge", "--older-than", "90d", "--status", status)
    assert "1 payloads purged" in run(database_url, *words)
    assert deliver(engine, sent).verdict is Verdict(status)
    assert "0 payloads purged" in run(database_url, *words), "it came lately"
    (row,) = rows(engine, Upload)
    assert (row["payload"], row["status"], row["tries"]) == (sent, status, 5)
    assert "set back" in run(database_url, "uploads", "replay", sent["client_session_uuid"])
    work_off(engine, sent)
    assert standing(engine, sent).status == "ingested"


def test_what_is_kept_again_is_not_taken_for_a_wrong_clock(engine: Engine, database_url: str) -> None:
    """The second copy says when it was sent: 40 days after the first arrived."""
    load(engine)
    sent = upload(answer("q110", AT))
    deliver(engine, sent | {"sent_at": ARRIVAL.isoformat()})
    with engine.begin() as connection:
        connection.execute(FAIL, {"status": "dead"})
    run(database_url, "uploads", "purge", "--older-than", "90d", "--status", "dead")
    later = ARRIVAL + timedelta(days=40)
    assert deliver(engine, sent | {"sent_at": later.isoformat()}, later).verdict is Verdict.DEAD
    assert "set back" in run(database_url, "uploads", "replay", sent["client_session_uuid"])
    work_off(engine, sent)
    (attempt,) = rows(engine, StudyQuestionAttempt)
    assert (attempt["answered_at"], attempt["clock_adjusted"]) == (datetime.fromisoformat(AT), False)


def test_what_was_ingested_and_purged_stays_so_when_it_is_sent_again(engine: Engine) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    age(engine)
    assert purge_all(engine) == [1]
    assert deliver(engine, sent).verdict is Verdict.INGESTED
    assert kept(engine) == []


def age(engine: Engine) -> None:
    """Let everything have ended long ago."""
    with engine.begin() as connection:
        connection.execute(AGE)


def purge_all(engine: Engine) -> list[int]:
    """Purge two at a time; return how many payloads were purged in each of the steps that found some."""
    return [purged for purged in purge(engine, Status.INGESTED, older_than=LIMIT, size=2) if purged]


def kept(engine: Engine, model: type[Base] = Upload) -> list[UUID]:
    return [row["client_session_uuid"] for row in rows(engine, model) if row["payload"] is not None]


def test_batch_by_batch_all_is_purged_but_what_another_holds(engine: Engine) -> None:
    load(engine)
    sent = [upload(answer("q110", AT)) for _ in range(6)]
    for each in sent:
        ingest(engine, each)
    age(engine)
    locked = sorted(map(uuid_of, sent))[1]
    with engine.begin() as connection:
        connection.execute(HOLD, {"uuid": locked})
        assert purge_all(engine) == [1, 2, 2]
        assert kept(engine) == [locked]
    assert purge_all(engine) == [1]
    assert kept(engine) == []


def test_each_batch_begins_where_the_last_one_ended(engine: Engine) -> None:
    load(engine)
    sent = [upload(answer("q110", AT)) for _ in range(4)]
    for each in sent:
        ingest(engine, each)
    age(engine)
    batches = purge(engine, Status.INGESTED, older_than=LIMIT, size=2)
    assert next(batches) == 2
    first = min(map(uuid_of, sent))
    with engine.begin() as connection:
        connection.execute(REFILL, {"uuid": first})
    assert sum(batches) == 2
    assert kept(engine) == [first]


def test_old_conflicts_of_uploads_that_are_done_are_purged_too(engine: Engine, database_url: str) -> None:
    load(engine)
    done, waiting = upload(answer("q110", AT)), upload(answer("q120", AT))
    for sent in (done, waiting):
        deliver(engine, sent)
        deliver(engine, sent | {"attempts": [answer("q111", AT)]})
    work_off(engine, done)
    age(engine)
    deliver(engine, done | {"attempts": [answer("q111", AT, WRONG)]}, datetime.now(UTC))
    assert "2 payloads would" in run(database_url, "uploads", "purge", "--older-than", "90d", "--dry-run")
    assert "2 payloads purged" in run(database_url, "uploads", "purge", "--older-than", "90d")
    assert [row["payload"] is None for row in rows(engine, UploadConflict)] == [True, False, False]
    assert kept(engine) == [uuid_of(waiting)]


@pytest.mark.parametrize("learner", [None, BEN])
def test_I1_a_conflict_that_was_purged_is_kept_again_when_it_is_sent_again(
    engine: Engine, learner: int | None
) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    deliver(engine, sent)
    other = sent | {"attempts": [answer("q210", AT)]}
    told = Verdict.CONFLICT if learner is None else Verdict.PENDING
    with engine.begin() as connection:
        connection.execute(FAIL, {"status": "dead"})
    assert deliver(engine, other, learner_id=learner).verdict is told
    with engine.begin() as connection:
        connection.execute(AGE)
    assert sum(purge(engine, Status.DEAD, older_than=LIMIT)) == 2
    with engine.begin() as held:
        held.execute(HOLD, {"uuid": uuid_of(sent)})
        assert deliver(engine, other, learner_id=learner).verdict is Verdict.LOCKED
    for _ in range(2):
        assert deliver(engine, other, learner_id=learner).verdict is told
    assert [row["payload"] for row in rows(engine, UploadConflict)] == [other]
    assert sum(purge(engine, Status.DEAD, older_than=timedelta(days=1))) == 0


def test_a_conflict_is_passed_over_while_one_accepts_it(engine: Engine) -> None:
    load(engine)
    sent = upload(answer("q110", AT))
    ingest(engine, sent)
    deliver(engine, sent | {"attempts": [answer("q111", AT)]})
    age(engine)
    with engine.begin() as connection:
        connection.execute(HOLD, {"uuid": uuid_of(sent)})  # as accepting begins
        assert purge_all(engine) == []
    assert kept(engine, UploadConflict) == [uuid_of(sent)]
    assert purge_all(engine) == [1, 1]


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
