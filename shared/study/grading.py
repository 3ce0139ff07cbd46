"""Derive the outcome, rating and study date of a raw answer; no other module does that."""

from datetime import date, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import NamedTuple

from fsrs import Rating

# An evening's session may pass midnight; by 04:00 on the learner's wall clock it is over.
DAY_STARTS = timedelta(hours=4)


class Outcome(StrEnum):
    """The outcome of an answer, as the learner sees it."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNSURE = "unsure"


class Grade(NamedTuple):
    """An outcome, and the rating that the scheduler gets for it."""

    outcome: Outcome
    rating: Rating


def derive_outcome(selected: int | None, *, unsure: bool, correct_choice: int) -> Outcome:
    """Derive the outcome of an answer; without a choice it is `unsure`, though the rating is Again."""
    if unsure or selected is None:
        return Outcome.UNSURE
    return Outcome.CORRECT if selected == correct_choice else Outcome.WRONG


def derive_rating(outcome: Outcome, *, right: bool) -> Rating:
    """Rate an answer; `right`: the right choice was made, sure or not.

    A miss is Again, never Hard: Hard is a pass, and would lengthen the interval. Nothing is Easy.
    """
    if outcome is Outcome.CORRECT:
        return Rating.Good
    return Rating.Hard if outcome is Outcome.UNSURE and right else Rating.Again


def grade(selected: int | None, *, unsure: bool, correct_choice: int) -> Grade:
    """Grade a raw answer."""
    outcome = derive_outcome(selected, unsure=unsure, correct_choice=correct_choice)
    return Grade(outcome, derive_rating(outcome, right=selected == correct_choice))


def study_date(at: datetime, utc_offset: int | None, zone: tzinfo) -> date:
    """Return the study date of an answer: the date of its local wall clock minus four hours.

    `utc_offset`: minutes east, as the viewer sent it. If it is None or zero (JavaScript and Python write zero
    for an unknown offset), `zone` decides the local time.
    """
    local = timezone(timedelta(minutes=utc_offset)) if utc_offset else zone
    return (at.astimezone(local) - DAY_STARTS).date()
