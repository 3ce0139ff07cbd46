"""Health is judged by one set of thresholds, at the settings' own pace."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from shared.config import Settings
from shared.health import SWEEPER, Problem, SystemState, beat, problems, read_state
from shared.models import UploadConflict
from shared.ops.actions import accept_conflict
from tests.factories import answer, deliver, load, rows, upload

WELL = SystemState(
    waiting=0, oldest=None, oldest_age=None, rejected=0, dead=0, conflicts=0, heartbeat_age=1.0
)


def test_a_heartbeat_grows_old_until_the_next_one(engine: Engine) -> None:
    with engine.begin() as connection:
        assert read_state(connection).heartbeat_age is None
        beat(connection, "other")
        beat(connection, SWEEPER)
        assert read_state(connection).heartbeat_age == 0  # now() is the transaction's
        connection.execute(text("UPDATE heartbeats SET beaten_at = beaten_at - interval '90 s'"))
        beat(connection, "other")
        assert read_state(connection).heartbeat_age == 90


def test_the_oldest_is_the_longest_waiting(engine: Engine) -> None:
    load(engine)
    sent = upload(answer("q110", "2026-11-20T09:00:00Z"))
    deliver(engine, sent)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET waiting_since = now() - interval '90 s'"))
        state = read_state(connection)
    assert (state.waiting, state.oldest_age) == (1, 90)
    assert state.oldest is not None
    assert state.oldest < datetime.now(UTC)


def test_a_conflict_counts_until_it_is_decided(engine: Engine) -> None:
    load(engine)
    sent = upload(answer("q110", "2026-11-20T09:00:00Z"))

    def send(pub_id: str) -> int:
        """Send other content, and return how many conflicts wait for a decision."""
        changed = sent | {"attempts": [answer(pub_id, "2026-11-20T09:00:00Z")]}
        deliver(engine, changed, datetime.now(UTC))
        with engine.begin() as connection:
            return read_state(connection).conflicts

    assert [send(pub_id) for pub_id in ("q110", "q111", "q120")] == [0, 1, 2]
    with engine.begin() as connection:
        accept_conflict(connection, rows(engine, UploadConflict)[0]["id"])
    assert len(rows(engine, UploadConflict)) == 2
    assert send("q110") == 0
    assert send("q112") == 1
    with engine.begin() as connection:
        connection.execute(text("UPDATE upload_conflicts SET payload = NULL"))
        assert read_state(connection).conflicts == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"heartbeat_age": None}, {Problem.SWEEPER_SILENT}),
        ({"heartbeat_age": 59.0}, set()),
        ({"heartbeat_age": 61.0}, {Problem.SWEEPER_SILENT}),
        ({"waiting": 1, "oldest_age": 629.0}, set()),
        ({"waiting": 1, "oldest_age": 631.0}, {Problem.UPLOADS_OVERDUE}),
        ({"waiting": 2000}, set()),
        ({"waiting": 2001}, {Problem.BACKLOG}),
    ],
)
def test_one_threshold_each(settings: Settings, changes: dict[str, float], expected: set[Problem]) -> None:
    assert problems(WELL._replace(**changes), settings) == expected
