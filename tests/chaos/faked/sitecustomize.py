"""Loaded by Python under libfaketime, whose replacement for the call behind `time.sleep` fails.

That is so where it leaves the monotonic clock alone; and where it does not, every wait for a lock hangs.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
