"""The sweeper's claim: what waits too long is enqueued, oldest first, by one sweeper only."""

from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from shared.config import Settings
from shared.retries import claim_overdue, hasten
from shared.uploads import lock

# Random order of arrival, so that neither the heap's order nor the ids' is that of time.
MINUTES_OVERDUE = [3, 9, 1, 7, 12, 5, 10, 2, 11, 4, 8, 6]
LONG = 3600.0


@pytest.fixture
def overdue(engine: Engine) -> list[UUID]:
    """Add uploads that wait; return the overdue ones, oldest first. One more is not due yet, one is dead."""
    add = text("""
        INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, next_try_at, status,
            finalized_at)
        SELECT gen_random_uuid(), '{}', '1:ab', now(), now() - make_interval(mins => minutes), status,
            CASE status WHEN 'dead' THEN now() END
        FROM unnest(CAST(:minutes AS int[]), CAST(:statuses AS text[])) AS waiting (minutes, status)
    """)
    minutes = [*MINUTES_OVERDUE, -1, 100]
    with engine.begin() as connection:
        connection.execute(
            add, {"minutes": minutes, "statuses": ["received"] * (len(minutes) - 1) + ["dead"]}
        )
        oldest = text("SELECT client_session_uuid FROM uploads ORDER BY next_try_at")
        return list(connection.execute(oldest).scalars())[1:-1]


def claim(engine: Engine, limit: int) -> list[UUID]:
    """Claim for an hour; where that waits for a lock, fail instead of hanging."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '1s'"))
        return [each.client_session_uuid for each in claim_overdue(connection, limit=limit, again_after=LONG)]


def test_the_oldest_are_claimed_first_and_only_once(engine: Engine, overdue: list[UUID]) -> None:
    assert [claim(engine, 5), claim(engine, 5), claim(engine, 5)] == [
        overdue[:5],
        overdue[5:10],
        overdue[10:],
    ]
    assert claim(engine, 5) == []


def test_after_the_clock_went_back_waiting_uploads_are_due_at_once(
    engine: Engine, settings: Settings, overdue: list[UUID]
) -> None:
    """Postgres' clock was five hours ahead, until a standby took over."""
    waiting = len(overdue) + 1  # one is not due yet

    def hasten_and_claim(limit: int) -> int:
        with engine.begin() as connection:
            hasten(connection, settings, limit=limit)
            return len(claim_overdue(connection, limit=limit, again_after=settings.retry_cap))

    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET next_try_at = next_try_at + interval '5 hours'"))
    assert [hasten_and_claim(5), hasten_and_claim(100), hasten_and_claim(100)] == [5, waiting - 5, 0]


def test_a_claimed_upload_is_due_again_when_nobody_answers(engine: Engine, overdue: list[UUID]) -> None:
    with engine.begin() as connection:
        assert len(claim_overdue(connection, limit=100, again_after=0)) == len(overdue)
    assert sorted(claim(engine, 100)) == sorted(overdue)


def test_what_is_being_replayed_or_claimed_is_passed_over(engine: Engine, overdue: list[UUID]) -> None:
    with engine.begin() as worker, engine.begin() as sweeper:
        sweeper.execute(text("SET LOCAL lock_timeout = '1s'"))
        assert lock(worker, overdue[:1])
        claimed = claim_overdue(sweeper, limit=2, again_after=LONG)
        assert [each.client_session_uuid for each in claimed] == overdue[1:3]
        assert claim(engine, 100) == overdue[3:]
    assert claim(engine, 100) == overdue[:1]


def test_a_claim_that_is_rolled_back_took_nothing(engine: Engine, overdue: list[UUID]) -> None:
    with engine.connect() as crashed:
        claim_overdue(crashed, limit=100, again_after=LONG)
    assert claim(engine, 100) == overdue
