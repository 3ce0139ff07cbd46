"""I6: an upload whose questions belong to several learners writes nothing but its rejection."""

from itertools import permutations

import pytest
from sqlalchemy import Engine

from shared.models import StudyQuizSession
from tests.world import (
    IMPOSSIBLE,
    answer,
    deliver,
    everything,
    ingest,
    load,
    rows,
    standing,
    upload,
    work_off,
)

AT = "2026-11-20T09:00:00Z"
ANNS, BENS, CHOS = answer("q110", AT), answer("q210", AT), answer("twin310", AT)
UNKNOWN = answer("unknown", AT)
# Even an answer that would be skipped says whose question it is.
BENS_SKIPPED = answer("q210", AT, IMPOSSIBLE)


@pytest.fixture(autouse=True)
def _catalog(engine: Engine) -> None:
    load(engine)


@pytest.mark.parametrize(
    "answers",
    [*permutations([ANNS, BENS, UNKNOWN]), [ANNS, BENS, CHOS], [ANNS, ANNS, BENS_SKIPPED]],
)
def test_I6_mixed_owners_leave_nothing_but_a_rejection(
    engine: Engine, answers: list[dict[str, object]]
) -> None:
    sent = upload(*answers)
    deliver(engine, sent)
    before = everything(engine)
    work_off(engine, sent)
    found = standing(engine, sent)
    assert (found.status, found.reason) == ("rejected", "mixed_owners")
    assert everything(engine) | {"uploads": []} == before | {"uploads": []}


def test_I6_one_owner_is_nobody_elses_business(engine: Engine) -> None:
    ingest(engine, upload(ANNS, UNKNOWN))
    ingest(engine, upload(BENS))
    assert [row["user_id"] for row in rows(engine, StudyQuizSession)] == [1, 2]
