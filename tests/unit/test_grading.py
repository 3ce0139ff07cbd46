"""Grading, as whole truth tables. The right choice is 1 throughout."""

import pytest
from fsrs import Rating

from shared.study.grading import Outcome, derive_outcome, derive_rating, grade

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
