"""I6: an upload whose questions belong to several learners writes nothing but its rejection."""

from itertools import permutations

import pytest
from sqlalchemy import Engine

from shared.models import StudyQuizSession
from tests.factories import IMPOSSIBLE, answer, everything, ingest, rows, upload

AT = "2026-11-20T09:00:00Z"
ANNS, BENS, CHOS = answer("q110", AT), answer("q210", AT), answer("second310", AT)
UNKNOWN = answer("unknown", AT)
# Even an answer that would be skipped says whose question it is.
BENS_SKIPPED = answer("q210", AT, IMPOSSIBLE)
MIXED = [*permutations([ANNS, BENS, UNKNOWN]), [ANNS, BENS, CHOS], [ANNS, ANNS, BENS_SKIPPED]]


pytestmark = pytest.mark.usefixtures("catalog")


def test_I6_mixed_owners_leave_nothing_but_a_rejection(engine: Engine) -> None:
    before = everything(engine) | {"uploads": []}
    for answers in MIXED:
        found = ingest(engine, upload(*answers))
        assert (found.status, found.reason) == ("rejected", "mixed_owners")
    assert everything(engine) | {"uploads": []} == before


def test_I6_one_owner_is_nobody_elses_business(engine: Engine) -> None:
    ingest(engine, upload(ANNS, UNKNOWN))
    ingest(engine, upload(BENS))
    assert [row["user_id"] for row in rows(engine, StudyQuizSession)] == [1, 2]
