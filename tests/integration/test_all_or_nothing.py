"""I5: uploads commit wholly or not at all, wherever their transaction breaks."""

from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from shared.models import StudyQuestionAttempt, StudyQuizSession
from tests.factories import (
    WRONG,
    answer,
    deliver,
    everything,
    ingest,
    load,
    reviews,
    rows,
    sound,
    statuses,
    upload,
    work_off,
)
from tests.faults import BrokenError, Fault, broken, interrupt, kill_backend

# Fewer than a replay of two topics has; without it, a loop that ends too soon would pass.
STATEMENTS = 8


Sent = list[dict[str, Any]]


@pytest.fixture(params=["one upload", "several"])
def sent(engine: Engine, request: pytest.FixtureRequest) -> Sent:
    """Deliver an upload of two topics, which updates, inserts and folds again; then others beside it."""
    load(engine)
    ingest(engine, upload(answer("q110", "2026-11-20T12:00:00Z"), answer("q111", "2026-11-20T12:01:00Z")))
    late, newer = "2026-11-20T09:00:00Z", "2026-11-21T09:00:00Z"
    made = [upload(answer("q110", late, WRONG), answer("q111", newer), answer("q120", newer))]
    if request.param == "several":
        made += [upload(answer("q110", newer)), upload(answer("q210", newer)), upload(answer("gone", newer))]
    for each in made:
        deliver(engine, each)
    return made


def breaks(engine: Engine, sent: Sent, moment: str, number: int, fault: Fault) -> bool:
    """Replay with a fault at one place; tell whether it has broken there."""
    try:
        with broken(engine, moment, number, fault):
            work_off(engine, *sent)
    except (BrokenError, OperationalError):
        return True
    return False


@pytest.mark.parametrize(
    ("moment", "fault", "places"),
    [
        ("before", interrupt, STATEMENTS),
        ("after", interrupt, STATEMENTS),
        ("before", kill_backend, STATEMENTS),
        ("commit", interrupt, 1),
        ("commit", kill_backend, 1),
    ],
)
def test_I5_a_fault_at_any_statement_leaves_nothing(
    engine: Engine, sent: Sent, moment: str, fault: Fault, places: int
) -> None:
    before = everything(engine)
    for number in count():
        if not breaks(engine, sent, moment, number, fault):
            break
        assert everything(engine) == before
    assert number >= places
    if len(sent) == 1:
        assert statuses(engine) == ["ingested"] * 2
        assert len(rows(engine, StudyQuizSession)) == 3
        assert len(rows(engine, StudyQuestionAttempt)) == 5
        assert reviews(engine) == {110: 2, 111: 2, 120: 1}
    else:
        assert sorted(statuses(engine)) == ["ingested"] * 4 + ["rejected"]
        assert len(rows(engine, StudyQuizSession)) == 5
        assert len(rows(engine, StudyQuestionAttempt)) == 7
        assert reviews(engine) == {110: 3, 111: 2, 120: 1, 210: 1}
    assert sound(engine)
