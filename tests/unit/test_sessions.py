"""Which questions a session asks: a matter of chance or of need, and never of the database."""

from collections import Counter
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.live.forms import MAX_QUESTIONS, SessionStart
from shared.live.sessions import Candidate, choose

TODAY = date(2026, 11, 22)


def candidate(number: int, priority: float = 1.0, due: int | None = None, subject: str = "a") -> Candidate:
    """Make a question; `due` is in days from today, None if it is new."""
    return Candidate(number, subject, priority, None if due is None else TODAY + timedelta(days=due))


def asked(offered: list[Candidate], mode: str, seed: int = 0, **form: Any) -> list[int]:
    start = SessionStart(study_topic_id=1, quiz_mode=mode, **form)  # type: ignore[arg-type]
    return [each.question_id for each in choose(offered, start, TODAY, Random(seed))]


candidates = st.lists(
    st.builds(
        candidate,
        st.integers(1, 10**6),
        st.sampled_from([0.0, 0.4, 3.0]),
        st.none() | st.integers(-2, 2),
        st.sampled_from(["a", "b", "c"]),
    ),
    unique_by=lambda each: each.question_id,
)


@given(candidates, st.sampled_from(["random", "frequent_focus"]), st.integers(1, 5), st.integers())
def test_each_subject_is_asked_up_to_its_target_and_no_question_twice(
    offered: list[Candidate], mode: str, target: int, seed: int
) -> None:
    chosen = asked(offered, mode, seed, target_per_subject=target)
    subjects = {each.question_id: each.subject for each in offered}
    assert Counter(subjects[number] for number in chosen) == {
        subject: min(count, target) for subject, count in Counter(subjects.values()).items()
    }
    assert len(set(chosen)) == len(chosen)
    assert chosen == asked(offered, mode, seed, target_per_subject=target)


@given(candidates, st.integers(1, 5), st.integers(0, 5), st.integers())
def test_what_is_due_goes_before_a_few_new_ones_and_nothing_else_is_asked(
    offered: list[Candidate], target: int, most_new: int, seed: int
) -> None:
    chosen = asked(offered, "due", seed, target_per_subject=target, new_per_session=most_new)
    by_number = {each.question_id: each for each in offered}
    dates = [by_number[number].due for number in chosen]
    due = [day for day in dates if day]
    assert dates == sorted(due) + [None] * (len(dates) - len(due))
    assert all(day <= TODAY for day in due)
    assert len(dates) - len(due) <= most_new
    assert max(Counter(by_number[number].subject for number in chosen).values(), default=0) <= target
    overdue = Counter(each.subject for each in offered if each.due and each.due <= TODAY)
    assert len(due) == sum(min(count, target) for count in overdue.values())


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("frequent_focus", [6, 3, 1, 2, 4, 5]),
        ("due", [5, 1, 6, 3, 4]),
    ],
)
def test_focus_goes_by_priority_and_due_by_date(mode: str, expected: list[int]) -> None:
    offered = [
        candidate(1, 0.5, -1),
        candidate(2, 0.4, 1),
        candidate(3, 0.8),
        candidate(4, 0.3, None),
        candidate(5, 0.0, -9),
        candidate(6, 0.9, None),
    ]
    for seed in range(20):
        assert asked(offered, mode, seed) == expected


def test_new_questions_have_room_until_their_number_is_reached_not_beyond() -> None:
    offered = [candidate(number, 1 - number / 100) for number in range(20)]
    assert asked(offered, "due") == list(range(10))
    assert asked(offered, "due", new_per_session=3) == [0, 1, 2]
    assert asked(offered, "due", new_per_session=0) == []


def test_a_new_question_of_a_full_subject_takes_no_place_of_another() -> None:
    offered = [candidate(1, 0.9), candidate(2, 0.8), candidate(3, 0.1, subject="b")]
    assert asked(offered, "due", target_per_subject=1, new_per_session=2) == [1, 3]


@pytest.mark.parametrize("mode", ["random", "frequent_focus", "due"])
def test_ties_are_left_to_chance(mode: str) -> None:
    offered = [candidate(number, due=-1) for number in range(4)]
    orders = {tuple(asked(offered, mode, seed, target_per_subject=2)) for seed in range(400)}
    assert orders == {(a, b) for a in range(4) for b in range(4) if a != b}


def test_a_session_has_an_end() -> None:
    offered = [candidate(number, subject=f"subject {number}") for number in range(MAX_QUESTIONS + 9)]
    assert len(asked(offered, "random", target_per_subject=1)) == MAX_QUESTIONS
