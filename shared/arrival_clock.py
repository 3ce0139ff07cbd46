"""Correct the times of a viewer whose clock is fast."""

from datetime import UTC, datetime, timedelta

# Below this a difference is travel time and rounding, not a wrong clock.
TOLERANCE = timedelta(seconds=60)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def skew(sent_at: datetime | None, received_at: datetime) -> timedelta:
    """Return how far the viewer's clock is ahead.

    An upload that was sent earlier than it arrived says nothing: an outbox may keep it for days.
    """
    ahead = sent_at - received_at if sent_at else timedelta()
    return ahead if ahead > TOLERANCE else timedelta()


def correct(at: datetime, ahead: timedelta, received_at: datetime) -> datetime | None:
    """Return the time that an answer counts at, never after its arrival; None for an impossible one."""
    try:
        at -= ahead
    except OverflowError:
        return None
    return min(at, received_at) if EARLIEST <= at < LATEST else None
