"""After a failure one request at a time tries a store; a failure of long ago holds nobody up."""

import pytest

from api import store
from api.store import Breaker
from shared.metrics import BREAKER_OPEN
from tests.processes import until

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


def test_the_metric_shows_no_open_breaker_if_nobody_asks_any_more() -> None:
    breaker = Breaker(0.01, "unasked")

    def shown() -> float:
        (gauge,) = BREAKER_OPEN.collect()
        return next(each.value for each in gauge.samples if each.labels["store"] == "unasked")

    breaker.trip()
    assert shown() == 1
    until(lambda: shown() == 0, "the breaker is closed")


def test_an_old_failure_no_longer_counts(clock: Clock) -> None:
    breaker = Breaker(PAUSE, "test")
    breaker.trip()
    clock.sleep(PAUSE * 2.1)
    assert let_through(breaker) == [True, True, True]
