"""Grading, as complete truth tables, and study dates. The right choice is always 1."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from fsrs import Rating

from shared.study.grading import Outcome, derive_outcome, derive_rating, grade, study_date
from tests.strategies import NEW_YORK, SEOUL

# Its clock went back from 04:30 to 03:30; no zone's does so across 04:00 in this century so far.
HONG_KONG = ZoneInfo("Asia/Hong_Kong")
RIGHT, WRONG, FIRST, NONE = 1, 2, 0, None


@pytest.mark.parametrize(
    ("selected", "unsure", "outcome", "rating"),
    [
        (RIGHT, False, "correct", Rating.Good),
        (WRONG, False, "wrong", Rating.Again),
        (FIRST, False, "wrong", Rating.Again),
        (NONE, False, "unsure", Rating.Again),
        (RIGHT, True, "unsure", Rating.Hard),
        (WRONG, True, "unsure", Rating.Again),
        (FIRST, True, "unsure", Rating.Again),
        (NONE, True, "unsure", Rating.Again),
    ],
)
def test_I7_an_answer_is_graded(selected: int | None, unsure: bool, outcome: str, rating: Rating) -> None:  # noqa: FBT001  # a column of the table
    assert derive_outcome(selected, unsure=unsure, correct_choice=RIGHT) == outcome
    assert grade(selected, unsure=unsure, correct_choice=RIGHT) == (outcome, rating)


def test_the_first_choice_may_be_right() -> None:
    assert grade(0, unsure=False, correct_choice=0) == ("correct", Rating.Good)
    assert grade(None, unsure=False, correct_choice=0) == ("unsure", Rating.Again)


@pytest.mark.parametrize(
    ("outcome", "right", "rating"),
    [
        (Outcome.CORRECT, True, Rating.Good),
        (Outcome.UNSURE, True, Rating.Hard),
        (Outcome.UNSURE, False, Rating.Again),
        (Outcome.WRONG, False, Rating.Again),
    ],
)
def test_only_a_right_choice_is_a_pass(outcome: Outcome, right: bool, rating: Rating) -> None:  # noqa: FBT001  # a column of the table
    assert derive_rating(outcome, right=right) is rating


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        (SEOUL, "2026-11-22T23:59:59+09:00", "2026-11-22"),
        (SEOUL, "2026-11-23T00:00:00+09:00", "2026-11-22"),
        (SEOUL, "2026-11-23T03:59:59.999999+09:00", "2026-11-22"),
        (SEOUL, "2026-11-23T04:00:00+09:00", "2026-11-23"),
        (SEOUL, "2026-11-22T19:00:00+00:00", "2026-11-23"),
        (ZoneInfo("UTC"), "2026-01-01T03:59:00+00:00", "2025-12-31"),
        # The clock goes forward, at 02:00.
        (NEW_YORK, "2026-03-08T03:59:59-04:00", "2026-03-07"),
        (NEW_YORK, "2026-03-08T04:00:00-04:00", "2026-03-08"),
        # It goes back, at 02:00; 01:30 comes twice.
        (NEW_YORK, "2026-11-01T01:30:00-04:00", "2026-10-31"),
        (NEW_YORK, "2026-11-01T01:30:00-05:00", "2026-10-31"),
        (NEW_YORK, "2026-11-01T03:59:59-05:00", "2026-10-31"),
        (NEW_YORK, "2026-11-01T04:00:00-05:00", "2026-11-01"),
        # It goes back across 04:00.
        (HONG_KONG, "1952-11-02T04:29:59+09:00", "1952-11-02"),
        (HONG_KONG, "1952-11-02T03:30:00+08:00", "1952-11-01"),
        (HONG_KONG, "1952-11-02T04:00:00+08:00", "1952-11-02"),
    ],
)
def test_a_study_date_starts_at_four(zone: ZoneInfo, at: str, expected: str) -> None:
    assert study_date(datetime.fromisoformat(at), None, zone) == date.fromisoformat(expected)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(9 * 60, 23), (-8 * 60, 22), (5 * 60 + 45, 22), (-1, 22), (9 * 60 + 1, 23), (None, 22), (0, 22)],
)
def test_an_offset_that_was_sent_goes_before_the_zone(offset: int | None, expected: int) -> None:
    """19:00 in UTC is 04:00 in Seoul; zero is what JavaScript writes, wherever it runs."""
    at = datetime(2026, 11, 22, 19, tzinfo=UTC)
    assert study_date(at, offset, NEW_YORK) == date(2026, 11, expected)
    assert study_date(at, None, SEOUL) == study_date(at, 0, SEOUL) == date(2026, 11, 23)
