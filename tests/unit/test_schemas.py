"""What a sender is told of an upload."""

import pytest

from api.schemas import AttemptResult
from shared.plan import SKIPPED


@pytest.mark.parametrize("reason", sorted(SKIPPED))
def test_every_reason_for_which_an_attempt_is_skipped_can_be_told(reason: str) -> None:
    told = AttemptResult.model_validate({"pub_id": "q", "status": "skipped", "reason": reason})
    assert told.reason == reason
