"""Spaced repetition by FSRS, in whole study days."""

import hashlib
import json
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from importlib.metadata import version
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

from fsrs import Card, Rating, Scheduler, State

# An evening's session may pass midnight; by 04:00 on the learner's wall clock it is over.
DAY_STARTS = timedelta(hours=4)

# No steps within a day and no chance: equal reviews give equal progress, whoever folds them and whenever.
_SCHEDULER = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)

# Kept beside the progress that it produced, so that what another version or other settings made is known.
_SETTINGS = json.dumps([_SCHEDULER.to_dict(), DAY_STARTS.total_seconds()], sort_keys=True)
SCHEDULER = f"fsrs {version('fsrs')} {hashlib.sha256(_SETTINGS.encode()).hexdigest()[:12]}"

# fsrs waits a millisecond to make an id of the clock for a card that has none.
_CARD_ID = 0

# fsrs counts whole days between moments, and takes none but in UTC.
_MIDNIGHT = time(tzinfo=UTC)


class Memory(NamedTuple):
    """A question's memory state; `stability` in days, `difficulty` from 1 to 10.

    A tuple, as is progress: a frozen dataclass takes eight times as long to make, a tenth of a review.
    """

    stability: float
    difficulty: float


class _Card(Card):
    """A card for one review, which fsrs need not copy first: that costs a quarter of a review."""

    def __copy__(self) -> Self:
        return self


def study_date(at: datetime, utc_offset: int | None, zone: tzinfo) -> date:
    """Return the date on which an answer counts: that of its local wall clock, four hours back.

    `utc_offset`: minutes east, as the viewer sent it; without one, or with zero, which JavaScript and Python
    write for want of an offset, local means `zone`.
    """
    local = timezone(timedelta(minutes=utc_offset)) if utc_offset else zone
    return (at.astimezone(local) - DAY_STARTS).date()


def study_day(at: datetime, zone: ZoneInfo) -> date:
    """Return the study day of a moment: it starts at 04:00 on the wall clock of `zone`."""
    return _midnight(at, zone).date()


def review(
    memory: Memory | None, last_reviewed_at: datetime | None, at: datetime, rating: Rating, zone: ZoneInfo
) -> tuple[Memory, date]:
    """Review a question that was last reviewed before `at`: its new memory, and the study day it is due."""
    day = _midnight(at, zone)
    if memory is None or last_reviewed_at is None:
        card: Card = _Card(_CARD_ID, due=day)
    else:
        card = _card(memory, last_reviewed_at, zone)
        # A wall clock that is set back across 04:00 must not rewind the schedule.
        day = max(day, card.due)
    card, _ = _SCHEDULER.review_card(card, rating, day)
    return Memory(card.stability or 0.0, card.difficulty or 0.0), card.due.date()


def retrievability(memory: Memory, last_reviewed_at: datetime, at: datetime, zone: ZoneInfo) -> float:
    """Return the probability that the question would be answered right at `at`."""
    return _SCHEDULER.get_card_retrievability(_card(memory, last_reviewed_at, zone), _midnight(at, zone))


def _card(memory: Memory, last_reviewed_at: datetime, zone: ZoneInfo) -> _Card:
    last = _midnight(last_reviewed_at, zone)
    return _Card(_CARD_ID, State.Review, None, memory.stability, memory.difficulty, last, last)


def _midnight(at: datetime, zone: ZoneInfo) -> datetime:
    # Python subtracts on the wall clock here, also where that was set forward or back meanwhile.
    return datetime.combine(at.astimezone(zone) - DAY_STARTS, _MIDNIGHT)
