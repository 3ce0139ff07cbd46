"""Progress: a fold over the reviews of one question, in the order in which they were answered."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fsrs import Rating

from shared.study.outcome import Outcome
from shared.study.schedule import Memory
from shared.study.schedule import review as schedule
from shared.study.wrong_note import WrongNote, next_note


@dataclass(frozen=True, slots=True)
class Review:
    """An attempt as the scheduler sees it."""

    question_id: int
    answered_at: datetime
    rating: Rating
    outcome: Outcome

    @property
    def key(self) -> tuple[datetime, Rating, Outcome]:
        """Order reviews: ties must not be broken by ids, which depend on arrival."""
        return (self.answered_at, self.rating, self.outcome)

    @property
    def miss(self) -> bool:
        """Tell whether the choice was wrong, or none."""
        return self.rating is Rating.Again


class Progress(NamedTuple):
    """What is known of one learner and one question.

    `stability` and `difficulty` are those of Memory; `due` is a study day; `corrects` counts outcomes, so
    that unsure-but-right is neither a miss nor a correct. A streak ends at any other answer. The note's times
    are those of its last moves.
    """

    stability: float
    difficulty: float
    due: date
    last_reviewed_at: datetime
    reviews: int
    misses: int
    corrects: int
    miss_streak: int
    correct_streak: int
    wrong_note: WrongNote
    note_opened_at: datetime | None
    note_closed_at: datetime | None

    @property
    def memory(self) -> Memory:
        """Return what the scheduler knows of it."""
        return Memory(self.stability, self.difficulty)


def advance(before: Progress | None, review: Review, zone: ZoneInfo) -> Progress:
    """Fold one review onto what came before it; the caller answers for the order."""
    if before is None:
        return _first(review, zone)
    memory, due = schedule(before.memory, before.last_reviewed_at, review.answered_at, review.rating, zone)
    correct, miss = review.outcome is Outcome.CORRECT, review.miss
    correct_streak = before.correct_streak + 1 if correct else 0
    note, opened_at, closed_at = _note(before, review, correct_streak)
    return Progress(
        stability=memory.stability,
        difficulty=memory.difficulty,
        due=due,
        last_reviewed_at=review.answered_at,
        reviews=before.reviews + 1,
        misses=before.misses + miss,
        corrects=before.corrects + correct,
        miss_streak=before.miss_streak + 1 if miss else 0,
        correct_streak=correct_streak,
        wrong_note=note,
        note_opened_at=opened_at,
        note_closed_at=closed_at,
    )


def _note(
    before: Progress, review: Review, correct_streak: int
) -> tuple[WrongNote, datetime | None, datetime | None]:
    note = next_note(before.wrong_note, review.outcome, correct_streak)
    if note is before.wrong_note:
        return note, before.note_opened_at, before.note_closed_at
    if note is WrongNote.OPEN:
        return note, review.answered_at, None
    return note, before.note_opened_at, review.answered_at


def _first(review: Review, zone: ZoneInfo) -> Progress:
    memory, due = schedule(None, None, review.answered_at, review.rating, zone)
    correct = review.outcome is Outcome.CORRECT
    return Progress(
        stability=memory.stability,
        difficulty=memory.difficulty,
        due=due,
        last_reviewed_at=review.answered_at,
        reviews=1,
        misses=int(review.miss),
        corrects=int(correct),
        miss_streak=int(review.miss),
        correct_streak=int(correct),
        wrong_note=next_note(WrongNote.NONE, review.outcome, int(correct)),
        note_opened_at=None if correct else review.answered_at,
        note_closed_at=None,
    )


def fold(reviews: Iterable[Review], zone: ZoneInfo) -> Progress | None:
    """Fold reviews, given in any order; None for none."""
    progress = None
    for review in sorted(reviews, key=attrgetter("key")):
        progress = advance(progress, review, zone)
    return progress
