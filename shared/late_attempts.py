"""Decide, without a database, what the skipped attempts of an ingested upload change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from shared.plan import Fate, Plan, PlannedAttempt


class LoggedAttempt(NamedTuple):
    """An attempt of the upload that is in the log; `question_id` is what it was taken for then."""

    ordinal: int
    session_id: int
    question_id: int
    answered_at_raw: datetime
    counted: bool


@dataclass(frozen=True, slots=True)
class LateAttempts:
    """What is new to the log.

    `topics`: the attempts of each topic that were skipped and can be graded by now; `counted`: the ordinals
    of the whole upload that count now; `demoted`: logged attempts that do so no more, as an earlier answer to
    their question came to light.
    """

    topics: dict[int, list[PlannedAttempt]]
    counted: set[int]
    demoted: list[LoggedAttempt]
    fates: list[Fate]

    @property
    def size(self) -> int:
        """Return how many they are."""
        return sum(map(len, self.topics.values()))


def find_late(plan: Plan, logged: Sequence[LoggedAttempt]) -> LateAttempts:
    """Compare what the catalog makes of an upload by now with what is in the log.

    What is logged stays graded as it was, and counts as before unless an earlier answer to its question
    joins it.
    """
    known = {each.ordinal for each in logged}
    topics = {
        topic: late
        for topic, attempts in plan.topics.items()
        if (late := [attempt for attempt in attempts if attempt.ordinal not in known])
    }
    late = [attempt for attempts in topics.values() for attempt in attempts]
    counted = _count(logged, late)
    demoted = [each for each in logged if each.counted and each.ordinal not in counted]
    usable = known | {attempt.ordinal for attempt in late}
    fates = [
        _fate(ordinal in counted) if ordinal in usable else fate for ordinal, fate in enumerate(plan.fates)
    ]
    return LateAttempts(topics, counted, demoted, fates)


def _count(logged: Sequence[LoggedAttempt], late: Sequence[PlannedAttempt]) -> set[int]:
    """Pick the first answer to each question: by the time as sent, then by place in the upload."""
    touched = {attempt.question.id for attempt in late}
    answers = [(each.answered_at_raw, each.ordinal, each.question_id) for each in logged]
    answers += [(each.answered_at_raw, each.ordinal, each.question.id) for each in late]
    first: dict[int, int] = {}
    for _, ordinal, question in sorted(answers):
        first.setdefault(question, ordinal)
    untouched = {each.ordinal for each in logged if each.counted and each.question_id not in touched}
    return untouched | {first[question] for question in touched}


def _fate(counted: bool) -> Fate:  # noqa: FBT001  # it is what is asked
    return Fate.COUNTED if counted else Fate.PRACTICE
