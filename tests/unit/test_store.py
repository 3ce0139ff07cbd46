"""After a failure one request at a time tries a store; a failure of long ago holds nobody up."""

import time

from api.store import Breaker

PAUSE = 0.5


def let_through(breaker: Breaker) -> list[bool]:
    return [breaker.allows() for _ in range(3)]


def test_a_failure_lets_one_through_after_a_pause_and_none_before() -> None:
    breaker = Breaker(PAUSE, "test")
    assert let_through(breaker) == [True, True, True]
    breaker.trip()
    assert let_through(breaker) == [False, False, False]
    time.sleep(PAUSE * 1.1)
    assert let_through(breaker) == [True, False, False]
    breaker.close()
    assert let_through(breaker) == [True, True, True]


def test_an_old_failure_no_longer_counts() -> None:
    breaker = Breaker(PAUSE, "test")
    breaker.trip()
    time.sleep(PAUSE * 2.1)
    assert let_through(breaker) == [True, True, True]
