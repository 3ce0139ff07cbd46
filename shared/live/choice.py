"""Choose the questions of a session: pure, and chance comes from the caller."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from shared.live.forms import MAX_QUESTIONS, QuizMode


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that may be asked.

    `exam_frequency`: None where not known; `recall`: the probability of a right answer now, 0 if never asked.
    """

    question_id: int
    subject: str
    exam_frequency: float | None
    misses: int
    recall: float


def choose(
    candidates: Sequence[Candidate], mode: QuizMode, target_per_subject: int, chance: Random
) -> list[Candidate]:
    """Choose at most so many questions of each subject, in the order in which to ask them."""
    order = chance.sample(candidates, len(candidates))
    if mode == "frequent_focus":
        order.sort(key=_focus)
    chosen = []
    taken: Counter[str] = Counter()
    for candidate in order:
        taken[candidate.subject] += 1
        if taken[candidate.subject] <= target_per_subject:
            chosen.append(candidate)
    return chosen[:MAX_QUESTIONS]


def _focus(candidate: Candidate) -> tuple[bool, float, int, float]:
    """Put first what exams ask often, then, where that is not known, what was missed often and is fading."""
    frequency = candidate.exam_frequency
    return (frequency is None, -(frequency or 0), -candidate.misses, candidate.recall)
