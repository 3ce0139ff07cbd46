"""I3: the same progress after any permutation, duplication and interleaving of deliveries."""

from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from tests.factories import ARRIVAL, deliver, forget, ingest, progress, sound, statuses, work_off
from tests.strategies import deliveries, uploads

pytestmark = pytest.mark.usefixtures("catalog")
Sent = dict[str, Any]


def in_order(engine: Engine, sent: list[Sent]) -> list[str]:
    forget(engine)
    for each in sent:
        ingest(engine, each)
    return progress(engine)


def in_any_order(engine: Engine, sent: list[Sent], steps: list[tuple[int, str]], together: int) -> list[str]:
    forget(engine)
    for step, group in groupby(enumerate(steps), key=lambda each: each[1][1]):
        days = [(day, sent[number]) for day, (number, _) in group]
        if step == "arrives":
            for day, each in days:
                deliver(engine, each, ARRIVAL + timedelta(days=day))
        else:
            for first in range(0, len(days), together):
                work_off(engine, *(each for _, each in days[first : first + together]))
    return progress(engine)


@pytest.mark.timeout(3600)  # for the profile `long`
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every example forgets the last
@given(data=st.data())
def test_I3_any_order_gives_the_same_progress(pooled: Engine, data: st.DataObject) -> None:
    sent = data.draw(uploads())
    steps = data.draw(deliveries(len(sent)))
    together = data.draw(st.sampled_from([1, 2, 10]), label="uploads in one transaction")
    assert in_any_order(pooled, sent, steps, together) == in_order(pooled, sent)
    assert "received" not in statuses(pooled)
    assert sound(pooled)
