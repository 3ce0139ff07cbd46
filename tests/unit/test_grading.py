"""Grading, as whole truth tables. The right choice is 1 throughout."""

import pytest
from fsrs import Rating

from shared.study.grading import Outcome, WrongNote, derive_outcome, derive_rating, grade, next_note
from tests.strategies import day, standing, told


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.UNSURE])
@pytest.mark.parametrize("note", list(WrongNote))
def test_all_but_a_correct_answer_opens(note: WrongNote, outcome: Outcome) -> None:
    assert next_note(note, outcome, 0) is WrongNote.OPEN


@pytest.mark.parametrize(
    ("note", "streak", "expected"),
    [
        (WrongNote.NONE, 1, WrongNote.NONE),
        (WrongNote.NONE, 2, WrongNote.NONE),
        (WrongNote.OPEN, 1, WrongNote.OPEN),
        (WrongNote.OPEN, 2, WrongNote.CLOSED),
        (WrongNote.OPEN, 3, WrongNote.CLOSED),
        (WrongNote.CLOSED, 1, WrongNote.CLOSED),
        (WrongNote.CLOSED, 3, WrongNote.CLOSED),
    ],
)
def test_the_second_correct_answer_closes(note: WrongNote, streak: int, expected: WrongNote) -> None:
    assert next_note(note, Outcome.CORRECT, streak) is expected


@pytest.mark.parametrize(
    ("story", "note", "opened", "closed"),
    [
        ("c", "none", None, None),
        ("ccc", "none", None, None),
        ("w", "open", 0, None),
        ("n", "open", 0, None),
        ("r", "open", 0, None),
        ("cr", "open", 1, None),
        ("ww", "open", 0, None),
        ("wrn", "open", 0, None),
        ("wc", "open", 0, None),
        ("wcc", "closed", 0, 2),
        ("wccc", "closed", 0, 2),
        ("rcc", "closed", 0, 2),
        ("wcrc", "open", 0, None),
        ("wcwcc", "closed", 0, 4),
        ("wccw", "open", 3, None),
        ("wccr", "open", 3, None),
        ("wccwc", "open", 3, None),
        ("wccwcc", "closed", 3, 5),
    ],
)
def test_a_note_and_its_times(story: str, note: str, opened: int | None, closed: int | None) -> None:
    """`opened` and `closed` number the answer that moved it."""
    known = standing(told(story))
    assert known.wrong_note == note
    assert known.note_opened_at == (None if opened is None else day(opened))
    assert known.note_closed_at == (None if closed is None else day(closed))


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
