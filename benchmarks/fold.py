"""P9: a fold over a question's whole history, compared with as many reviews by fsrs alone."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from fsrs import Card, Rating, Scheduler

from benchmarks.figures import Figure, ratio
from benchmarks.servers import Stores
from shared.study.grading import grade
from shared.study.progress import Review, fold

HISTORIES = (10, 100, 1000)
REVIEWS, QUICK_REVIEWS = 20_000, 4_000  # in one round of one side
ROUNDS = 7
START = datetime(2020, 1, 1, 8, tzinfo=UTC)
RIGHT_TO_WRONG = (4, 1)
PRACTICE_AFTER = timedelta(minutes=5)  # every third answer is repeated in its session
SCHEDULER = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)


def measure(_: Stores, *, quick: bool) -> list[Figure]:
    """Measure both sides in turn."""
    reviews = QUICK_REVIEWS if quick else REVIEWS
    return [figure for length in HISTORIES for figure in _of(length, max(1, reviews // length))]


def _of(length: int, times: int) -> list[Figure]:
    history = _history(length)
    pairs = [
        (_cpu(lambda: fold(history), times), _cpu(lambda: _bare(history), times)) for _ in range(ROUNDS + 1)
    ]
    ours, theirs = zip(*pairs[1:], strict=True)  # the first round warms both sides up
    cost = tuple(each / length for each in ours)
    return [
        ratio(f"P9/{length}", f"fold of {length} reviews ÷ as many by bare fsrs", ours, theirs, "≤ 1.4"),
        Figure(f"fold/{length}", f"a review in a fold of {length}", cost, "µs"),
    ]


def _history(length: int) -> list[Review]:
    """Make a history whose order of arrival is not the order of the answers."""
    rng = Random(length)  # noqa: S311  # made data is meant to be the same every time
    reviews: list[Review] = []
    for number in range(length):
        counted = number % 4 < 3  # noqa: PLR2004  # three answers, and the third again
        at = START + timedelta(days=2 * number) if counted else reviews[-1].answered_at + PRACTICE_AFTER
        graded = grade(rng.choices([0, 1], RIGHT_TO_WRONG)[0], unsure=False, correct_choice=0)
        reviews.append(Review(1, at, at.date(), graded.rating, graded.outcome, counted))
    return rng.sample(reviews, length)


def _bare(history: list[Review]) -> None:
    card = Card(1)
    for review in sorted(history, key=lambda review: review.answered_at):
        card, _ = SCHEDULER.review_card(card, Rating(review.rating), review.answered_at)


def _cpu(work: Callable[[], object], times: int) -> float:
    """Return the microseconds of CPU that the work takes once."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) * 1e6 / times
