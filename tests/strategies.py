"""Uploads as Hypothesis makes them, close together in time so that they tie, overlap and repeat."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from operator import itemgetter
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fsrs import Rating
from hypothesis import strategies as st

from shared.study.grading import Outcome, study_date
from shared.study.progress import Progress, Review, fold
from tests.factories import IMPOSSIBLE, NO_CHOICE, RIGHT, WRONG, ZONES

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 10, 30, 12, tzinfo=UTC)

# Counted: c(orrect), w(rong), n(o choice, or a wrong choice with `unsure`), r(ight, but unsure).
# Practice: p (right), f (wrong), u (right, but unsure).
ANSWERS = {
    "c": (Rating.Good, Outcome.CORRECT, True),
    "w": (Rating.Again, Outcome.WRONG, True),
    "n": (Rating.Again, Outcome.UNSURE, True),
    "r": (Rating.Hard, Outcome.UNSURE, True),
    "p": (Rating.Good, Outcome.CORRECT, False),
    "f": (Rating.Again, Outcome.WRONG, False),
    "u": (Rating.Hard, Outcome.UNSURE, False),
}


def review(letter: str, at: datetime = START, question: int = 1, on: date | None = None) -> Review:
    """Make a review at a time; its study date is that of Seoul, or `on`."""
    return Review(question, at, on or study_date(at, None, SEOUL), *ANSWERS[letter])


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def answered(letters: str, question: int = 1) -> list[Review]:
    """Make one review a day, of the kinds that the letters name."""
    return [review(letter, day(number), question) for number, letter in enumerate(letters)]


def standing(reviews: Sequence[Review]) -> Progress:
    progress = fold(reviews)
    assert progress is not None
    return progress


# Few, so that they tie. One moment may be written in several offsets, and so lie on several study dates.
_moments = st.sampled_from(
    [START.replace(hour=hour) + timedelta(days=n) for n in range(5) for hour in (6, 18, 19)]
)


@st.composite
def reviews(draw: st.DrawFn, questions: int = 1) -> Review:
    at = draw(_moments)
    on = study_date(at, draw(st.sampled_from([None, 9 * 60, -8 * 60])), UTC)
    return review(draw(st.sampled_from(sorted(ANSWERS))), at, draw(st.integers(1, questions)), on)


# Midnight of the first day. The third night sets New York's clock back across an hour.
FIRST_DAY = datetime(2026, 10, 30, tzinfo=UTC)
# 04:00 on the clocks of London, New York (summer, winter) and Seoul, midnight, and a few between.
_OF_DAY = [timedelta(hours=h, minutes=m) for h in (0, 4, 8, 9, 19) for m in (-1, 0)] + [timedelta(hours=12)]
_upload_moments = st.builds(
    lambda day, time: FIRST_DAY + day * timedelta(days=1) + time, st.integers(0, 5), st.sampled_from(_OF_DAY)
)
# The same moment may be written in any offset.
_offsets = st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-3, minutes=-30))])


def _answers(learner: int, moments: list[datetime]) -> st.SearchStrategy[dict[str, Any]]:
    names = ["q{}10", "second{}10", "new{}10", "q{}11", "q{}20", "unknown"]
    pub_ids = [name.format(learner) for name in names]
    return st.fixed_dictionaries(
        {
            "pub_id": st.sampled_from(pub_ids),
            "selected": st.sampled_from([RIGHT, WRONG, RIGHT, WRONG, NO_CHOICE, IMPOSSIBLE]),
            "unsure": st.booleans(),
            "answered_at": st.builds(_written, st.sampled_from(moments), _offsets),
        }
    )


def _written(moment: datetime, offset: tzinfo) -> str:
    return moment.astimezone(offset).isoformat()


@st.composite
def uploads(draw: st.DrawFn, most: int = 5) -> list[dict[str, Any]]:
    """Make uploads of several learners, in the order in which they were begun."""
    # Few learners and moments, so that uploads meet at the same questions, often at the same time.
    cast = draw(st.lists(st.sampled_from(list(ZONES)), min_size=1, max_size=2, unique=True))
    moments = draw(st.lists(_upload_moments, min_size=1, max_size=6, unique=True))
    learners = draw(st.lists(st.sampled_from(cast), min_size=2, max_size=most))
    attempts = [draw(st.lists(_answers(learner, moments), min_size=1, max_size=5)) for learner in learners]
    sent = [{"client_session_uuid": str(UUID(int=n + 1)), "attempts": a} for n, a in enumerate(attempts)]
    return sorted(sent, key=_begun)


def _begun(sent: dict[str, Any]) -> datetime:
    return min(datetime.fromisoformat(attempt["answered_at"]) for attempt in sent["attempts"])


@st.composite
def deliveries(draw: st.DrawFn, count: int) -> list[tuple[int, str]]:
    """Make arrivals and messages of uploads, in any order; at the end, each upload has one more of both.

    These last ones come upload by upload, or first all arrivals and then all messages.
    """
    steps = [
        (number, step)
        for number in range(count)
        for step, most in (("arrives", 2), ("enqueued", 2))
        for _ in range(draw(st.integers(0, most)))
    ]
    final = [
        (number, step) for number in draw(st.permutations(range(count))) for step in ("arrives", "enqueued")
    ]
    if draw(st.booleans()):
        final.sort(key=itemgetter(1))  # stable
    return [*draw(st.permutations(steps)), *final]
