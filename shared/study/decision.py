"""Decide what a session changes: the pure step of finalize, between load and save."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from zoneinfo import ZoneInfo

from shared.study.outcome import Outcome
from shared.study.pattern import Pattern, classify
from shared.study.progress import Progress, Review, advance, fold
from shared.study.schedule import SCHEDULER


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
