"""Spaced repetition by FSRS, which counts whole days between study dates."""

from datetime import UTC, date, datetime
from typing import NamedTuple, Self

from fsrs import Card, Rating, Scheduler, State

# No steps within a day, nothing random: equal reviews give equal progress, on every machine and at any time.
_SCHEDULER = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)
PARAMETERS = (*_SCHEDULER.parameters, _SCHEDULER.desired_retention, _SCHEDULER.maximum_interval)

# If a card is given no id, fsrs makes an id from the clock, and waits a millisecond.
_CARD_ID = 0


class Memory(NamedTuple):
    """A question's memory state; `stability` in days, `difficulty` from 1 to 10.

    This is a named tuple, like `Progress`: making a frozen dataclass takes eight times as long, which would
    be a tenth of the time of a review.
    """

    stability: float
    difficulty: float


def review(memory: Memory | None, last: date, day: date, rating: Rating) -> tuple[Memory, date]:
    """Review a question on `day`; return its new memory state, and the date on which it is due.

    `last`: the date of the review before; not used at the first review, when `memory` is None.
    """
    midnight = _midnight(day)
    card: Card = _Card(_CARD_ID, due=midnight) if memory is None else _card(memory, last)
    card, _ = _SCHEDULER.review_card(card, rating, midnight)
    return Memory(card.stability or 0.0, card.difficulty or 0.0), card.due.date()


def retrievability(memory: Memory, last: date, day: date) -> float:
    """Return the probability that the question would be answered right on `day`."""
    return _SCHEDULER.get_card_retrievability(_card(memory, last), _midnight(day))


class _Card(Card):
    """A card whose copy is the card itself.

    fsrs copies a card before each review, and copying takes a quarter of the review's time. We need no copy,
    since we use a card only once.
    """

    def __copy__(self) -> Self:
        return self


def _card(memory: Memory, last: date) -> _Card:
    reviewed = _midnight(last)
    return _Card(_CARD_ID, State.Review, None, memory.stability, memory.difficulty, reviewed, reviewed)


def _midnight(day: date) -> datetime:
    """Return midnight in UTC: fsrs counts whole days between such times."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
