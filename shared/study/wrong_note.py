"""The wrong note: which questions a learner should look at again."""

from enum import StrEnum

from shared.study.outcome import Outcome

# One right answer may be luck.
CORRECT_TO_CLOSE = 2


class WrongNote(StrEnum):
    """Where a question's note stands."""

    NONE = "none"
    OPEN = "open"
    CLOSED = "closed"


def next_note(note: WrongNote, outcome: Outcome, correct_streak: int) -> WrongNote:
    """Move a note on: opened by everything but a correct answer; `correct_streak` counts this one too."""
    if outcome is not Outcome.CORRECT:
        return WrongNote.OPEN
    if note is WrongNote.OPEN and correct_streak >= CORRECT_TO_CLOSE:
        return WrongNote.CLOSED
    return note
