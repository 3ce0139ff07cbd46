"""Wait for a condition."""

import time
from collections.abc import Callable

PAUSE_SECONDS = 0.02  # short beside the 50 ms that a server needs to start


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Ask until `done` or until the seconds are over; tell whether it was done."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE_SECONDS)
    return True
