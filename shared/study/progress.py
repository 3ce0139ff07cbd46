"""Progress: a fold over the reviews of one question, in the order in which they were answered."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fsrs import Rating

from shared.study.grading import Outcome, WrongNote, next_note
from shared.study.scheduling import SCHEDULER, Memory, retrievability
from shared.study.scheduling import review as schedule


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


# Enough for a smooth line on a wide screen.
POINTS = 120
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A review with what it found and left; `recall`: the probability of a right answer just before it."""

    review: Review
    found: Progress | None
    recall: float | None
    left: Progress


@dataclass(frozen=True, slots=True)
class Curve:
    """The probability of a right answer over time, and the reviews that bent it."""

    points: list[tuple[datetime, float]]
    reviewed: list[Reviewed]


def forgetting_curve(reviews: Iterable[Review], until: datetime, zone: ZoneInfo) -> Curve:
    """Draw the curve of one question's reviews, given in any order, up to a moment."""
    reviewed = list(folded(reviews, zone))
    ends = [each.review.answered_at for each in reviewed[1:]] + [until]
    step = max(DAY, (until - reviewed[0].review.answered_at) / POINTS) if reviewed else DAY
    points = [
        point
        for each, end in zip(reviewed, ends, strict=False)
        for point in _fall(each.left, end, step, zone)
    ]
    return Curve(points, reviewed)


def folded(reviews: Iterable[Review], zone: ZoneInfo) -> Iterator[Reviewed]:
    """Fold one question's reviews, given in any order; yield each with what it found and left."""
    progress: Progress | None = None
    for review in sorted(reviews, key=attrgetter("key")):
        recall = _recall(progress, review.answered_at, zone) if progress else None
        left = advance(progress, review, zone)
        yield Reviewed(review, progress, recall, left)
        progress = left


def _fall(
    progress: Progress, end: datetime, step: timedelta, zone: ZoneInfo
) -> Iterator[tuple[datetime, float]]:
    """Sample the way from a review to the next, both ends included."""
    at = progress.last_reviewed_at
    while at < end:
        yield at, _recall(progress, at, zone)
        at += step
    yield end, _recall(progress, end, zone)


def _recall(progress: Progress, at: datetime, zone: ZoneInfo) -> float:
    return retrievability(progress.memory, progress.last_reviewed_at, at, zone)


# The third miss in a row is no slip any more.
CHRONIC_AFTER = 2


class Pattern(StrEnum):
    """Name a change worth showing; most answers are none."""

    NEWLY_CORRECT = "newly_correct"
    RECOVERED = "recovered"
    RELAPSED = "relapsed"
    CHRONIC = "chronic"


def classify(before: Progress | None, review: Review) -> Pattern | None:
    """Classify a review by the standing just before it.

    Newly correct: never correct before. Recovered: correct after a miss, and correct once before that.
    Relapsed: a miss right after a correct one. Chronic: at least the third miss in a row. Unsure-but-right is
    neither correct nor a miss: it ends both rows, and starts none.
    """
    if review.outcome is Outcome.CORRECT:
        return _of_correct(before)
    if before is None or not review.miss:
        return None
    if before.correct_streak:
        return Pattern.RELAPSED
    return Pattern.CHRONIC if before.miss_streak >= CHRONIC_AFTER else None


def _of_correct(before: Progress | None) -> Pattern | None:
    if before is None or not before.corrects:
        return Pattern.NEWLY_CORRECT
    return Pattern.RECOVERED if before.miss_streak else None


@dataclass(frozen=True, slots=True)
class Cached:
    """Progress as it was kept, with the scheduler and the time zone that produced it."""

    progress: Progress
    scheduler: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class Counts:
    """A session's counts: by outcome, and by pattern as of the session's place in time."""

    correct: int
    wrong: int
    unsure: int
    newly_correct: int
    recovered: int
    relapsed: int
    chronic: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The new progress of each question of a session, and the session's counts."""

    progress: dict[int, Progress]
    counts: Counts


def late(reviews: Sequence[Review], cached: Mapping[int, Cached], zone: ZoneInfo) -> set[int]:
    """Return the questions that must be folded from their whole history.

    Those with a review that is not strictly newer than what is cached, and those whose cache was produced by
    another scheduler or in another time zone.
    """
    return {
        review.question_id
        for review in reviews
        if (known := cached.get(review.question_id)) and not _continues(known, review, zone)
    }


def _continues(known: Cached, review: Review, zone: ZoneInfo) -> bool:
    return (
        review.answered_at > known.progress.last_reviewed_at
        and known.scheduler == SCHEDULER
        and known.time_zone == zone.key
    )


def decide(
    reviews: Sequence[Review],
    cached: Mapping[int, Cached],
    history: Mapping[int, Sequence[Review]],
    zone: ZoneInfo,
) -> Decision:
    """Fold a session's reviews, one a question; `history`: the other reviews of every late question."""
    progress: dict[int, Progress] = {}
    patterns: Counter[Pattern | None] = Counter()
    for review in reviews:
        others = history.get(review.question_id)
        known = cached.get(review.question_id)
        before = known.progress if known else None
        after: Sequence[Review] = ()
        if others is not None:
            before = fold([other for other in others if other.key <= review.key], zone)
            after = sorted((other for other in others if other.key > review.key), key=attrgetter("key"))
        patterns[classify(before, review)] += 1
        progress[review.question_id] = _advance_all(before, [review, *after], zone)
    return Decision(progress, _count(reviews, patterns))


def _advance_all(before: Progress | None, reviews: Sequence[Review], zone: ZoneInfo) -> Progress:
    first, *rest = reviews
    progress = advance(before, first, zone)
    for review in rest:
        progress = advance(progress, review, zone)
    return progress


def _count(reviews: Sequence[Review], patterns: Mapping[Pattern | None, int]) -> Counts:
    outcomes = Counter(review.outcome for review in reviews)
    return Counts(
        correct=outcomes[Outcome.CORRECT],
        wrong=outcomes[Outcome.WRONG],
        unsure=outcomes[Outcome.UNSURE],
        newly_correct=patterns[Pattern.NEWLY_CORRECT],
        recovered=patterns[Pattern.RECOVERED],
        relapsed=patterns[Pattern.RELAPSED],
        chronic=patterns[Pattern.CHRONIC],
    )
