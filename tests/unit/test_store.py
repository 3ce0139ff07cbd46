"""After a failure one request at a time tries a store; a failure of long ago holds nobody up."""

import pytest

from api import store
from api.store import Breaker

PAUSE = 0.5


class Clock:
    """Stand still, but for what a test sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(store, "time", clock)
    return clock


def let_through(breaker: Breaker) -> list[bool]:
    return [breaker.allows() for _ in range(3)]


def test_a_failure_lets_one_through_after_a_pause_and_none_before(clock: Clock) -> None:
    breaker = Breaker(PAUSE, "test")
    assert let_through(breaker) == [True, True, True]
    breaker.trip()
    assert let_through(breaker) == [False, False, False]
    clock.sleep(PAUSE * 1.1)
    assert let_through(breaker) == [True, False, False]
    breaker.close()
    assert let_through(breaker) == [True, True, True]


def test_an_old_failure_no_longer_counts(clock: Clock) -> None:
    breaker = Breaker(PAUSE, "test")
    breaker.trip()
    clock.sleep(PAUSE * 2.1)
    assert let_through(breaker) == [True, True, True]
