"""What becomes of each attempt: counted, practice, or skipped with a reason."""

from typing import Any

import pytest
from sqlalchemy import Engine

from shared.models import StudyQuestionAttempt, Upload
from tests.factories import (
    IMPOSSIBLE,
    NO_CHOICE,
    WRONG,
    answer,
    everything,
    ingest,
    reviews,
    rows,
    upload,
)

NINE, TEN = "2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z"


pytestmark = pytest.mark.usefixtures("catalog")


def fates(result: dict[str, Any] | None) -> list[str]:
    assert result is not None
    return [each.get("reason", each["status"]) for each in result["attempts"]]


def test_practice_is_kept_and_moves_nothing(engine: Engine) -> None:
    first = answer("q110", NINE, WRONG)
    repeats = [answer("second110", TEN), answer("q110", TEN, WRONG), answer("q110", NINE)]
    found = ingest(engine, upload(*repeats, first | {"answered_at": "2026-11-20T08:59:59Z"}))
    assert fates(found.result) == ["practice", "practice", "practice", "counted"]
    kept = [(row["ordinal"], row["outcome"], row["counted"]) for row in rows(engine, StudyQuestionAttempt)]
    assert kept == [(0, "correct", False), (1, "wrong", False), (2, "correct", False), (3, "wrong", True)]
    assert reviews(engine) == {110: 1}


def test_at_one_time_the_first_of_the_list_counts(engine: Engine) -> None:
    ingest(engine, upload(answer("q110", NINE, WRONG), answer("q110", "2026-11-20T18:00:00+09:00")))
    assert [row["counted"] for row in rows(engine, StudyQuestionAttempt)] == [True, False]


def test_what_is_skipped_says_why_and_does_not_use_up_first(engine: Engine) -> None:
    skipped = [
        answer("q110", "1999-12-31T23:59:59Z"),
        answer("q110", NINE, IMPOSSIBLE),
        answer("nobody", NINE),
    ]
    found = ingest(engine, upload(*skipped, answer("q110", TEN)))
    assert fates(found.result) == ["bad_clock", "invalid_choice", "unknown_question", "counted"]
    (kept,) = rows(engine, StudyQuestionAttempt)
    assert (kept["ordinal"], kept["outcome"], kept["counted"]) == (3, "correct", True)


@pytest.mark.parametrize(
    ("answers", "reason", "skipped"),
    [
        ([answer("nobody", NINE)], "unknown_questions", ["unknown_question"]),
        (
            [
                answer("q110", NINE, IMPOSSIBLE),
                answer("q111", "2100-01-01T00:00:00Z"),
                answer("nobody", NINE),
            ],
            "no_usable_attempt",
            ["invalid_choice", "bad_clock", "unknown_question"],
        ),
    ],
)
def test_a_rejection_says_why_and_leaves_nothing_else(
    engine: Engine, answers: list[dict[str, Any]], reason: str, skipped: list[str]
) -> None:
    before = everything(engine)
    found = ingest(engine, upload(*answers))
    assert (found.status, found.reason, fates(found.result)) == ("rejected", reason, skipped)
    assert everything(engine) | {"uploads": [], "upload_events": []} == before


def test_I7_a_clients_opinion_is_never_read(engine: Engine) -> None:
    opinions: dict[str, Any] = {
        "is_correct": True,
        "correct": True,
        "outcome": "correct",
        "rating": 3,
        "user_id": 2,
    }
    sent = upload(
        answer("q110", NINE, WRONG, **opinions), answer("q111", NINE, NO_CHOICE, **opinions), **opinions
    )
    ingest(engine, sent)
    kept = [(row["outcome"], row["rating"]) for row in rows(engine, StudyQuestionAttempt)]
    assert kept == [("wrong", 1), ("unsure", 1)]
    assert rows(engine, Upload)[0]["payload"] == sent  # unknown fields stay with the payload
