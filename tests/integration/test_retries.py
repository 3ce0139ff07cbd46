"""I9: starts of an upload are counted and spaced, so that no payload kills workers for ever."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from shared import retries
from shared.config import Settings
from shared.models import Upload
from shared.retries import StartResult
from shared.uploads import lock
from tests.factories import answer, deliver, load, rows, upload, uuid_of, work_off

MAX_TRIES = 3
Sent = dict[str, Any]


@pytest.fixture
def sent(engine: Engine) -> Sent:
    load(engine)
    made = upload(answer("q110", "2026-11-20T09:00:00Z"))
    deliver(engine, made)
    return made


def start(engine: Engine, sent: Sent) -> StartResult:
    """StartResult an upload; where that waits for a lock, fail instead of hanging."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '1s'"))
        return retries.count_start(connection, uuid_of(sent), max_tries=MAX_TRIES)


def row(engine: Engine) -> dict[str, Any]:
    (only,) = rows(engine, Upload)
    return only


def test_I9_a_start_is_counted_before_it_begins_and_the_last_one_buries(engine: Engine, sent: Sent) -> None:
    counted = [(start(engine, sent), row(engine)["tries"], row(engine)["status"]) for _ in range(4)]
    assert counted == [
        (StartResult.COUNTED, 2, "received"),
        (StartResult.COUNTED, 3, "received"),
        (StartResult.DEAD, 3, "dead"),
        (StartResult.NOTHING_TO_DO, 3, "dead"),
    ]
    assert row(engine)["finalized_at"] is not None


def test_I9_a_message_that_finds_the_row_locked_is_no_start(engine: Engine, sent: Sent) -> None:
    with engine.begin() as worker:
        assert lock(worker, [uuid_of(sent)])
        assert {start(engine, sent) for _ in range(MAX_TRIES + 1)} == {StartResult.NOTHING_TO_DO}
    assert (row(engine)["tries"], row(engine)["status"]) == (1, "received")
    assert start(engine, sent) is StartResult.COUNTED


def test_a_message_of_a_final_or_unknown_upload_is_no_start(engine: Engine, sent: Sent) -> None:
    work_off(engine, sent)
    stranger = upload(answer("q110", "2026-11-20T09:00:00Z"))
    assert start(engine, sent) is start(engine, stranger) is StartResult.NOTHING_TO_DO
    assert (row(engine)["tries"], row(engine)["status"]) == (1, "ingested")


def start_together(engine: Engine, *sent: Sent, max_tries: int = MAX_TRIES) -> list[UUID]:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '1s'"))
        return retries.count_starts(connection, [uuid_of(each) for each in sent], max_tries=max_tries)


def test_I9_what_was_started_with_others_is_started_alone_from_then_on(engine: Engine, sent: Sent) -> None:
    assert start_together(engine, sent) == [uuid_of(sent)]
    assert row(engine)["tries"] == 2
    assert start_together(engine, sent) == []
    assert (start(engine, sent), row(engine)["tries"]) == (StartResult.COUNTED, 3)


def test_I9_the_last_start_of_an_upload_is_its_own(engine: Engine, sent: Sent) -> None:
    """Otherwise another upload, which kills their worker, could make it dead."""
    assert start_together(engine, sent, max_tries=2) == []
    assert (row(engine)["tries"], row(engine)["status"]) == (1, "received")


def test_I9_only_those_start_together_that_wait_and_are_not_busy(engine: Engine, sent: Sent) -> None:
    busy, final = [upload(answer("q110", "2026-11-20T09:00:00Z")) for _ in range(2)]
    for each in (busy, final):
        deliver(engine, each)
    work_off(engine, final)
    with engine.begin() as worker:
        assert lock(worker, [uuid_of(busy)])
        assert start_together(engine, sent, busy, final, upload()) == [uuid_of(sent)]
    assert sorted(each["tries"] for each in rows(engine, Upload)) == [1, 1, 2]


@pytest.fixture
def patience(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_tries": MAX_TRIES, "retry_base": 100.0, "retry_cap": 1000.0})


def wait_after_failing(engine: Engine, sent: Sent, patience: Settings) -> float:
    with engine.begin() as connection:
        retries.fail(connection, uuid_of(sent), "ValueError at some place", patience)
        wait: timedelta = connection.scalar(text("SELECT next_try_at - now() FROM uploads"))
    return wait.total_seconds()


def test_a_failure_waits_twice_as_long_each_time_up_to_a_cap(
    engine: Engine, sent: Sent, patience: Settings
) -> None:
    endless = patience.model_copy(update={"max_tries": 1_000_000})
    for done, longest in [(1, 100), (2, 200), (3, 400), (9, 1000), (10_000, 1000)]:
        with engine.begin() as connection:
            connection.execute(text("UPDATE uploads SET tries = :done"), {"done": done})
        assert longest / 2 <= wait_after_failing(engine, sent, endless) <= longest
    assert (row(engine)["last_error"], row(engine)["tries"]) == ("ValueError at some place", 10_000)


def test_I9_a_failure_of_the_last_start_buries(engine: Engine, sent: Sent, patience: Settings) -> None:
    for _ in range(MAX_TRIES - 1):
        start(engine, sent)
        assert row(engine)["status"] == "received"
        wait_after_failing(engine, sent, patience)
    assert (row(engine)["status"], row(engine)["tries"]) == ("dead", MAX_TRIES)
    assert row(engine)["last_error"] == "ValueError at some place"


@pytest.mark.parametrize(("counted", "left"), [(True, 1), (False, 2)])
def test_I9_what_is_not_its_own_fault_gives_a_counted_start_back(
    engine: Engine, sent: Sent, *, counted: bool, left: int
) -> None:
    start(engine, sent)
    with engine.begin() as connection:
        retries.postpone(connection, uuid_of(sent), "DeadlockDetected", counted=counted, wait=40)
        assert connection.scalar(text("SELECT next_try_at - now() FROM uploads")) == timedelta(seconds=40)
    assert (row(engine)["tries"], row(engine)["last_error"]) == (left, "DeadlockDetected")


def test_a_final_upload_neither_fails_nor_waits(engine: Engine, sent: Sent, patience: Settings) -> None:
    work_off(engine, sent)
    before = row(engine)
    with engine.begin() as connection:
        retries.fail(connection, uuid_of(sent), "too late", patience)
        retries.postpone(connection, uuid_of(sent), "too late", counted=True, wait=40)
    assert row(engine) == before
