"""Progress: a fold over the reviews of one question, in the order in which they were answered."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from fsrs import Rating

from shared.study.grading import Outcome
from shared.study.scheduling import PARAMETERS, Memory, retrievability
from shared.study.scheduling import review as schedule


class Review(NamedTuple):
    """An attempt as the fold sees it; one that is not counted is practice (docs/glossary.md)."""

    question_id: int
    answered_at: datetime
    study_date: date
    rating: Rating
    outcome: Outcome
    counted: bool

    @property
    def sort_key(self) -> tuple[datetime, bool, Rating, Outcome, date]:
        """Return the key by which reviews are sorted; it has no ids, which depend on the order of arrival.

        The study date is part of the key: two devices may send the same moment with different offsets.
        """
        return (self.answered_at, not self.counted, self.rating, self.outcome, self.study_date)

    @property
    def miss(self) -> bool:
        """Return whether the choice was wrong, or none was made."""
        return self.rating is Rating.Again


class WrongNote(StrEnum):
    """The state of a question's wrong note."""

    NONE = "none"
    OPEN = "open"
    CLOSED = "closed"


class Progress(NamedTuple):
    """What is known of one learner and one question.

    `due_at_most`: the latest possible `due`, set if the last counted answer was unsure but right.
    `last_answered_at`: the time of the newest review, counted or practice. `last_study_date`: the latest
    study date of all reviews. All fields after these two are about counted reviews. Unsure-but-right is
    neither a miss nor a correct answer, and ends both streaks.
    `correct_since`: the study date on which the present streak of correct answers began.
    `note_opened_at`: when the wrong note was last opened; `note_closed_at`: when it was closed after that.
    """

    stability: float
    difficulty: float
    due: date
    due_at_most: date | None
    last_answered_at: datetime
    last_study_date: date
    reviews: int
    misses: int
    corrects: int
    miss_streak: int
    correct_streak: int
    correct_since: date | None
    wrong_note: WrongNote
    note_opened_at: datetime | None
    note_closed_at: datetime | None

    @property
    def memory(self) -> Memory:
        """Return the state that the scheduler needs."""
        return Memory(self.stability, self.difficulty)


class Cached(NamedTuple):
    """Progress as it was saved; `scheduler` names the parameters and rules that produced it (SCHEDULER)."""

    progress: Progress
    scheduler: str


class Pattern(StrEnum):
    """What an answer shows, compared with earlier ones (see `classify`); most answers show no pattern."""

    NEWLY_CORRECT = "newly_correct"
    RECOVERED = "recovered"
    RELAPSED = "relapsed"
    CHRONIC = "chronic"


class Counts(NamedTuple):
    """How many counted attempts of a session have each outcome, and how many show each pattern.

    The numbers are computed when the session is finalized; reviews that arrive later do not change them.
    """

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


def find_to_refold(sessions: Iterable[Iterable[Review]], cached: Mapping[int, Cached]) -> set[int]:
    """Return the questions of these sessions that must be folded from their whole history.

    A question is returned if it has a late review: its cached progress, or an earlier one of these sessions,
    has a review of the same time or later. A question is also returned if its cached progress was computed by
    other parameters or rules than the present ones (SCHEDULER).
    """
    found = set()
    stale = {question for question, known in cached.items() if known.scheduler != SCHEDULER}
    newest = {question: known.progress.last_answered_at for question, known in cached.items()}
    for reviews in sessions:
        met: dict[int, datetime] = {}
        for question, at, *_ in reviews:
            if question in stale or at <= newest.get(question, _NEVER):
                found.add(question)
            met[question] = max(at, met.get(question, at))
        newest |= met  # an older time does no harm: its question is in `found` already
    return found


def decide(
    sessions: Iterable[Iterable[Review]],
    cached: Mapping[int, Cached],
    history: Mapping[int, Sequence[Review]],
) -> list[Decision]:
    """Fold a learner's sessions in their order; return a decision for each session.

    A question in `history` is folded from its first review on, any other one onto its progress in `cached`.
    `history`: for each question that `find_to_refold` returned, all reviews outside of these sessions.
    """
    progress = {question: known.progress for question, known in cached.items()}
    others = {question: list(reviews) for question, reviews in history.items()}
    decisions = []
    for reviews in sessions:
        of_question = defaultdict(list)
        for review in reviews:
            of_question[review.question_id].append(review)
        changed: dict[int, Progress] = {}
        counts: Counter[str | None] = Counter()
        for question, own in of_question.items():
            before = progress.get(question) if question not in others else None
            # Sorting is stable: of equal reviews, the session's own come last.
            every = [*others.get(question, ()), *own]
            for review in sorted(every, key=attrgetter("sort_key")) if len(every) > 1 else every:
                if review.counted and any(review is each for each in own):
                    counts[review.outcome] += 1
                    counts[classify(before, review)] += 1
                before = changed[question] = advance(before, review)
            if question in others:
                others[question] += own
        progress |= changed
        decisions.append(Decision(changed, Counts(*(counts[each] for each in (*Outcome, *Pattern)))))
    return decisions


# Misses in a row before a chronic one: the third miss in a row is chronic.
CHRONIC_AFTER = 2


def classify(before: Progress | None, review: Review) -> Pattern | None:
    """Classify a counted review by the progress just before it.

    Newly correct: never correct before. Recovered: correct directly after a miss, and correct at least once
    before. Relapsed: a miss directly after a correct answer. Chronic: at least the third miss in a row.
    Unsure-but-right is neither correct nor a miss: it ends both streaks, and starts none.
    """
    if review.outcome is Outcome.CORRECT:
        if before is None or not before.corrects:
            return Pattern.NEWLY_CORRECT
        return Pattern.RECOVERED if before.miss_streak else None
    if before is None or not review.miss:
        return None
    if before.correct_streak:
        return Pattern.RELAPSED
    return Pattern.CHRONIC if before.miss_streak >= CHRONIC_AFTER else None


def fold(reviews: Iterable[Review]) -> Progress | None:
    """Fold the reviews of one question, given in any order; return None if there are none."""
    progress = None
    for review in sorted(reviews, key=attrgetter("sort_key")):
        progress = advance(progress, review)
    return progress


_NEVER = datetime.min.replace(tzinfo=UTC)
_UNANSWERED = Progress(
    stability=0.0,
    difficulty=0.0,
    due=date.min,
    due_at_most=None,
    last_answered_at=_NEVER,
    last_study_date=date.min,
    reviews=0,
    misses=0,
    corrects=0,
    miss_streak=0,
    correct_streak=0,
    correct_since=None,
    wrong_note=WrongNote.NONE,
    note_opened_at=None,
    note_closed_at=None,
)


def advance(before: Progress | None, review: Review) -> Progress:
    """Fold one review onto the progress before it; the caller keeps the order."""
    known = before or _UNANSWERED
    # The date never goes back, even if the learner travels west to where it is still yesterday.
    day = max(review.study_date, known.last_study_date)
    last = known.last_study_date if before else day
    memory, due = schedule(before and before.memory, last, day, review.rating)
    if not review.counted:
        return known._replace(
            stability=memory.stability,
            difficulty=memory.difficulty,
            due=due if known.due_at_most is None else min(due, known.due_at_most),
            last_answered_at=review.answered_at,
            last_study_date=day,
        )
    correct, miss = review.outcome is Outcome.CORRECT, review.miss
    due_at_most = None if correct or miss else day + timedelta(days=max(1, (day - last).days // 2))
    correct_since = (known.correct_since or day) if correct else None
    note, opened_at, closed_at = known.wrong_note, known.note_opened_at, known.note_closed_at
    if not correct and note is not WrongNote.OPEN:
        note, opened_at, closed_at = WrongNote.OPEN, review.answered_at, None
    elif correct_since and correct_since < day and note is WrongNote.OPEN:
        note, closed_at = WrongNote.CLOSED, review.answered_at
    return Progress(
        stability=memory.stability,
        difficulty=memory.difficulty,
        due=due if due_at_most is None else min(due, due_at_most),
        due_at_most=due_at_most,
        last_answered_at=review.answered_at,
        last_study_date=day,
        reviews=known.reviews + 1,
        misses=known.misses + miss,
        corrects=known.corrects + correct,
        miss_streak=known.miss_streak + 1 if miss else 0,
        correct_streak=known.correct_streak + 1 if correct else 0,
        correct_since=correct_since,
        wrong_note=note,
        note_opened_at=opened_at,
        note_closed_at=closed_at,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A review with the progress before and after it.

    `recall`: the probability of a right answer at the review; None at the first one.
    """

    review: Review
    before: Progress | None
    recall: float | None
    after: Progress


def fold_steps(reviews: Iterable[Review]) -> Iterator[Step]:
    """Fold the reviews of one question, given in any order; yield every step."""
    before = None
    for review in sorted(reviews, key=attrgetter("sort_key")):
        after = advance(before, review)
        recall = before and retrievability(before.memory, before.last_study_date, after.last_study_date)
        yield Step(review, before, recall, after)
        before = after


# Enough for a smooth line on a wide screen.
POINTS = 120


@dataclass(frozen=True, slots=True)
class Curve:
    """The probability of a right answer by study date, and the reviews that changed it."""

    points: list[tuple[date, float]]
    steps: list[Step]


def forgetting_curve(reviews: Iterable[Review], until: date) -> Curve:
    """Compute the curve of one question up to a date; its reviews may be given in any order."""
    steps = list(fold_steps(reviews))
    if not steps:
        return Curve([], [])
    ends = [each.after.last_study_date for each in steps[1:]] + [until]
    days_apart = max(1, (until - steps[0].after.last_study_date).days // POINTS)
    points = []
    for step, end in zip(steps, ends, strict=True):
        memory, start = step.after.memory, step.after.last_study_date
        days = [*range(0, (end - start).days, days_apart), (end - start).days]
        points += [
            (day, retrievability(memory, start, day)) for day in (start + timedelta(days=n) for n in days)
        ]
    return Curve(points, steps)


def _digest() -> str:
    """Hash the parameters, and the progress that the fold computes from a fixed list of reviews.

    The version of fsrs is not hashed: after an upgrade that changes no result, nothing is folded again.
    Values are rounded, since machines compute the last digits of `x ** y` differently.
    """
    days = (0, 0, 1, 1, 4, 9, 9, 30, 45, 45, 46, 120, 122, 122, 300, 1000)
    # c correct, w wrong, n wrong and unsure, u right but unsure; as practice: p correct, r right but unsure
    answers = "cpwurrcccwnncppc"
    graded = {
        "c": (Rating.Good, Outcome.CORRECT, True),
        "w": (Rating.Again, Outcome.WRONG, True),
        "n": (Rating.Again, Outcome.UNSURE, True),
        "u": (Rating.Hard, Outcome.UNSURE, True),
        "r": (Rating.Hard, Outcome.UNSURE, False),
        "p": (Rating.Good, Outcome.CORRECT, False),
    }
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + timedelta(days=day, minutes=number) for number, day in enumerate(days)]
    log = [Review(1, at, at.date(), *graded[letter]) for at, letter in zip(times, answers, strict=True)]
    made = [
        [round(value, 6) if isinstance(value, float) else str(value) for value in step.after]
        for first in (0, 2, 3)  # a first answer of every rating
        for step in fold_steps(log[first:])
    ]
    text = json.dumps([PARAMETERS, made])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# Names the parameters and rules. It is saved with the progress; progress with another name is folded again.
SCHEDULER = f"fsrs {_digest()}"
