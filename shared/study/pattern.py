"""The learning pattern: what an answer says about where the learner stood just before it."""

from enum import StrEnum

from shared.study.outcome import Outcome
from shared.study.progress import Progress, Review

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
