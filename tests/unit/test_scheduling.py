"""Intervals between reviews, in study dates."""

from datetime import date, timedelta

import pytest
from fsrs import Rating

from shared.study.scheduling import Memory, retrievability, review

FIRST = date(2026, 10, 30)


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
