"""Bound the guesses at the password."""

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

# A person mistypes twice; a guesser gets 1,440 a day.
LIMIT = RateLimitItemPerMinute(5, multiples=5)


class Guesses:
    """Let an address try five passwords in five minutes; each web process counts its own."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def take(self, address: str) -> bool:
        """Count a guess before it is looked at, so that many at once are no more than five."""
        return self._limiter.hit(LIMIT, address)

    def forgive(self, address: str) -> None:
        """Forget the wrong guesses before a right one."""
        self._limiter.clear(LIMIT, address)

    def wait(self, address: str) -> int:
        """Return the seconds until the next guess is let in."""
        reset = self._limiter.get_window_stats(LIMIT, address).reset_time
        return max(1, math.ceil(reset - time.time()))
