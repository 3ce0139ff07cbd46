"""Decide, without a database, what becomes of an upload's attempts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from operator import attrgetter

from fsrs import Rating

from shared.payload import Attempt, Upload
from shared.study.grading import Outcome, grade, study_date

# A clock that is ahead by no more than this counts as right, and is not corrected.
TOLERANCE = timedelta(seconds=60)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
# A device that was reset shows a time of years ago; hardly any viewer keeps an answer that long.
DOUBTFUL_AGE = timedelta(days=2 * 365)


def skew(sent_at: datetime | None, received_at: datetime) -> timedelta:
    """Return how far the viewer's clock is ahead; zero if this is TOLERANCE or less, or if `sent_at` is None.

    A `sent_at` before the arrival is ignored: the upload may have been under way for long.
    """
    ahead = sent_at - received_at if sent_at else timedelta()
    return ahead if ahead > TOLERANCE else timedelta()


def correct_time(at: datetime, ahead: timedelta, received_at: datetime) -> datetime | None:
    """Return the time `at` minus `ahead`; if that is after the arrival, return the arrival.

    `ahead`: how far the viewer's clock was ahead, negative if it was behind. Return None if the result of the
    subtraction is outside EARLIEST to LATEST.
    """
    try:
        at -= ahead
    except OverflowError:
        return None
    return min(at, received_at) if EARLIEST <= at < LATEST else None


class Fate(StrEnum):
    """What became of an attempt: counted, practice, or the reason why it was skipped."""

    COUNTED = "counted"
    PRACTICE = "practice"
    UNKNOWN_QUESTION = "unknown_question"
    INVALID_CHOICE = "invalid_choice"
    BAD_CLOCK = "bad_clock"
    MIXED_OWNERS = "mixed_owners"  # the whole upload is rejected, as with UNKNOWN_LEARNER
    UNKNOWN_LEARNER = "unknown_learner"


SKIPPED = frozenset(Fate) - {Fate.COUNTED, Fate.PRACTICE}


@dataclass(frozen=True, slots=True)
class Question:
    """A question as grading needs it: in the edition that was shown."""

    id: int
    user_id: int
    study_topic_id: int
    subject: str
    choice_count: int
    correct_choice: int
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class PlannedAttempt:
    """A graded attempt; `ordinal` is its place in the upload or live session.

    `answered_at_raw`: the time as sent; `utc_offset`: as sent, in minutes east, None for zero and for live
    answers. `clock_adjusted`: the time was corrected, or is doubtful. A time is doubtful if it is more than
    DOUBTFUL_AGE before the arrival, and the edition has no `published_at`, by which a wrong time could be
    refused.
    """

    ordinal: int
    question: Question
    pub_id: str
    selected: int | None
    unsure: bool
    outcome: Outcome
    rating: Rating
    answered_at: datetime
    answered_at_raw: datetime
    utc_offset: int | None
    study_date: date
    clock_adjusted: bool = False


# Study dates by an attempt's public id and time. They stay when an upload is replayed again: the learner may
# have another time zone now.
Dates = Mapping[tuple[str, datetime], date]


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of an upload.

    `topics`: the usable attempts (not skipped) of each topic. `counted`: the ordinals of the counted
    attempts; all other usable attempts are practice. `fates`: one for each attempt, in the order of the
    upload. `finished_at`: the corrected time; None if the viewer sent none, or if it is outside EARLIEST to
    LATEST.
    """

    topics: dict[int, list[PlannedAttempt]]
    counted: set[int]
    fates: list[Fate]
    finished_at: datetime | None

    def rejected(self, reason: Fate) -> "Plan":
        """Return the plan of a rejected upload: attempts not skipped so far are skipped for `reason`."""
        fates = [fate if fate in SKIPPED else reason for fate in self.fates]
        return Plan({}, set(), fates, self.finished_at)


def make_plan(  # noqa: PLR0913  # all that decides
    upload: Upload,
    received_at: datetime,
    questions: Mapping[str, Question],
    zone: tzinfo,
    *,
    clock_shift: timedelta | None = None,
    dates: Dates | None = None,
) -> Plan:
    """Grade each attempt, and decide what becomes of it.

    `questions`: the known questions, by their `pub_id`. `zone`: the learner's time zone.
    `clock_shift`, if an operator has set it, is added to all times; else `sent_at` says what to subtract.
    `dates`: the study dates that stay.
    """
    ahead = skew(upload.sent_at, received_at) if clock_shift is None else -clock_shift
    graded = [
        _grade_attempt(
            ordinal,
            attempt,
            questions.get(attempt.pub_id),
            correct_time(attempt.answered_at, ahead, received_at),
            received_at,
            zone,
        )
        for ordinal, attempt in enumerate(upload.attempts)
    ]
    usable = [attempt for attempt in graded if isinstance(attempt, PlannedAttempt)]
    if dates:
        usable = [
            replace(each, study_date=dates.get((each.pub_id, each.answered_at), each.study_date))
            for each in usable
        ]
    # The first attempt at each question counts: first by the time as sent, then by ordinal.
    first: dict[int, int] = {}
    for each in sorted(usable, key=attrgetter("answered_at_raw")):
        first.setdefault(each.question.id, each.ordinal)
    counted = {*first.values()}
    topics: dict[int, list[PlannedAttempt]] = {}
    for attempt in usable:
        topics.setdefault(attempt.question.study_topic_id, []).append(attempt)
    fates = [
        each if isinstance(each, Fate) else Fate.COUNTED if each.ordinal in counted else Fate.PRACTICE
        for each in graded
    ]
    finished_at = upload.finished_at and correct_time(upload.finished_at, ahead, received_at)
    return Plan(topics, counted, fates, finished_at)


def _grade_attempt(  # noqa: PLR0913, PLR0917  # what was answered, when, and by what it is graded
    ordinal: int,
    attempt: Attempt,
    question: Question | None,
    at: datetime | None,
    received_at: datetime,
    zone: tzinfo,
) -> PlannedAttempt | Fate:
    if question is None:
        return Fate.UNKNOWN_QUESTION
    if attempt.selected is not None and attempt.selected >= question.choice_count:
        return Fate.INVALID_CHOICE
    if at is None or (question.published_at and at < question.published_at):
        return Fate.BAD_CLOCK
    offset = attempt.answered_at.utcoffset()
    # JavaScript and Python write zero where they know no offset.
    utc_offset = int(offset / timedelta(minutes=1)) if offset else None
    is_doubtful = question.published_at is None and at < received_at - DOUBTFUL_AGE
    return PlannedAttempt(
        ordinal,
        question,
        attempt.pub_id,
        attempt.selected,
        attempt.unsure,
        *grade(attempt.selected, unsure=attempt.unsure, correct_choice=question.correct_choice),
        at,
        attempt.answered_at,
        utc_offset,
        study_date(at, utc_offset, zone),
        clock_adjusted=is_doubtful or at != attempt.answered_at,
    )
