"""The forgetting curve of a question: how likely it was known, from its first review on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from zoneinfo import ZoneInfo

from shared.study.progress import Progress, Review, advance
from shared.study.schedule import retrievability

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
