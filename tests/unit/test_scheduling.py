"""Study days, and the intervals between them."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from fsrs import Rating

from shared.study.scheduling import Memory, retrievability, review, study_date
from tests.strategies import NEW_YORK, SEOUL

# Its clock went back from 04:30 to 03:30; no zone's does so across 04:00 in this century so far.
HONG_KONG = ZoneInfo("Asia/Hong_Kong")
FIRST = date(2026, 10, 30)


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


def intervals(ratings: str, gaps: list[int] | None = None) -> tuple[list[int], Memory]:
    """Answer when due, or after so many days; A(gain), H(ard), G(ood). Return the intervals in days."""
    memory, last, day = None, FIRST, FIRST
    found: list[int] = []
    for number, letter in enumerate(ratings):
        if number:
            day += timedelta(days=gaps[number - 1] if gaps else found[-1])
        memory, due = review(memory, last, day, {r.name[0]: r for r in Rating}[letter])
        last = day
        found.append((due - day).days)
    assert memory is not None
    return found, memory


def test_the_intervals_that_fsrs_publishes() -> None:
    """The list of py-fsrs's own first test; its steps within a day (its 0s) are answers of one day here."""
    published = [0, 2, 11, 46, 163, 498, 0, 0, 2, 4, 7, 12, 21]
    found, _ = intervals("GGGGGGAAGGGGG", published[:-1])
    assert [ours if theirs else 0 for ours, theirs in zip(found, published, strict=True)] == published


def test_the_memory_that_fsrs_publishes() -> None:
    _, memory = intervals("AGGGGG", [0, 1, 3, 8, 21])
    assert memory.stability == pytest.approx(53.62691, abs=1e-4)
    assert memory.difficulty == pytest.approx(6.3574867, abs=1e-6)


@pytest.mark.parametrize(
    ("ratings", "gaps", "expected", "stability"),
    [
        ("GGGGGGG", None, [2, 11, 46, 163, 497, 1346, 3292], 3292.2795957),
        ("AAAAAAA", None, [1, 1, 1, 1, 1, 1, 1], 0.0113041),
        ("HHHHHHH", None, [1, 3, 7, 12, 18, 25, 33], 33.3187023),
        ("GAHGGAGG", None, [2, 1, 2, 4, 9, 1, 2, 4], 3.7206840),
        ("GGG", [1, 1], [2, 7, 12], 11.9910262),
        ("GGG", [10, 60], [2, 25, 148], 147.8695970),
        ("AG", [0], [1, 1], 0.2466892),
        ("GA", [0], [2, 1], 0.7750840),
    ],
    ids=["right", "wrong", "unsure", "mixed", "early", "overdue", "wrong then right", "right then wrong"],
)
def test_intervals(ratings: str, gaps: list[int] | None, expected: list[int], stability: float) -> None:
    """The values are those of py-fsrs 6.3.2 alone, without steps, on days of 24 hours."""
    found, memory = intervals(ratings, gaps)
    assert found == expected
    assert memory.stability == pytest.approx(stability, abs=1e-6)


@pytest.mark.parametrize(
    ("days", "expected"), [(-3, 1.0), (0, 1.0), (1, 0.9856824), (10, 0.9), (100, 0.6928266)]
)
def test_what_is_remembered_fades(days: int, expected: float) -> None:
    """A stability is the days until nine in ten remember."""
    memory = Memory(stability=10.0, difficulty=5.0)
    recall = retrievability(memory, FIRST, FIRST + timedelta(days=days))
    assert recall == pytest.approx(expected, abs=1e-6)
