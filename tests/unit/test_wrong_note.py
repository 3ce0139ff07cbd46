"""When a wrong note opens, closes and reopens."""

import pytest

from shared.study.grading import Outcome, WrongNote, next_note
from tests.reviews import day, standing, told


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
