"""Spaced repetition by FSRS, in whole study days."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import version
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fsrs import Card, Rating, Scheduler, State

# An evening's session may pass midnight; by 04:00 on the learner's wall clock it is over.
DAY_STARTS = timedelta(hours=4)

# No steps within a day and no chance: equal reviews give equal progress, whoever folds them and whenever.
_SCHEDULER = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)

# Kept beside the progress that it produced, so that what another version or other parameters made is known.
SCHEDULER = (
    f"fsrs {version('fsrs')} "
    + hashlib.sha256(json.dumps(_SCHEDULER.to_dict(), sort_keys=True).encode()).hexdigest()[:12]
)

# fsrs waits a millisecond to make an id of the clock for a card that has none.
_CARD_ID = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """A question's memory state; `stability` in days, `difficulty` from 1 to 10."""

    stability: float
    difficulty: float


class Reviewed(NamedTuple):
    """A memory after a review, and the study day on which the question is due."""

    memory: Memory
    due: date


def study_day(at: datetime, zone: ZoneInfo) -> date:
    """Return the study day of a moment: it starts at 04:00 on the wall clock of `zone`."""
    return (at.astimezone(zone).replace(tzinfo=None) - DAY_STARTS).date()


def review(
    memory: Memory | None, last_reviewed_at: datetime | None, at: datetime, rating: Rating, zone: ZoneInfo
) -> Reviewed:
    """Review a question that was last reviewed before `at`."""
    now = _midnight(study_day(at, zone))
    last = _midnight(study_day(last_reviewed_at, zone)) if last_reviewed_at else None
    # A wall clock that is set back across 04:00 must not rewind the schedule.
    card, _ = _SCHEDULER.review_card(_card(memory, last), rating, max(now, last) if last else now)
    return Reviewed(Memory(card.stability or 0.0, card.difficulty or 0.0), card.due.date())


def retrievability(memory: Memory, last_reviewed_at: datetime, at: datetime, zone: ZoneInfo) -> float:
    """Return the probability that the question would be answered right at `at`."""
    card = _card(memory, _midnight(study_day(last_reviewed_at, zone)))
    return _SCHEDULER.get_card_retrievability(card, _midnight(study_day(at, zone)))


def _card(memory: Memory | None, last: datetime | None) -> Card:
    if memory is None:
        return Card(card_id=_CARD_ID)
    return Card(_CARD_ID, State.Review, None, memory.stability, memory.difficulty, last, last)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
