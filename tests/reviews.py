"""Reviews for tests of the engine: told by a letter each, or made by Hypothesis."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from fsrs import Rating
from hypothesis import strategies as st

from shared.study.grading import Outcome
from shared.study.progress import Progress, Review, fold

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 10, 30, 12, tzinfo=UTC)

# c(orrect), w(rong), n(o choice, or a wrong one flagged unsure), r(ight, but unsure).
ANSWERS = {
    "c": (Rating.Good, Outcome.CORRECT),
    "w": (Rating.Again, Outcome.WRONG),
    "n": (Rating.Again, Outcome.UNSURE),
    "r": (Rating.Hard, Outcome.UNSURE),
}


def review(letter: str, at: datetime = START, question: int = 1) -> Review:
    return Review(question, at, *ANSWERS[letter])


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def told(story: str, question: int = 1) -> list[Review]:
    """Answer once a day, as the letters say."""
    return [review(letter, day(number), question) for number, letter in enumerate(story)]


def standing(reviews: Sequence[Review], zone: ZoneInfo = SEOUL) -> Progress:
    progress = fold(reviews, zone)
    assert progress is not None
    return progress


zones = st.sampled_from([SEOUL, NEW_YORK, ZoneInfo("UTC")])
# Few, so that they tie, and about 04:00 in Seoul and in New York, whose clock goes back on the third night.
# One moment may be written in several offsets.
_moments = st.builds(
    lambda days, hour, offset: (START.replace(hour=hour) + days).astimezone(offset),
    st.sampled_from([timedelta(days=n, seconds=s) for n in range(5) for s in (-1, 0)]),
    st.sampled_from([6, 8, 9, 19]),
    st.sampled_from([UTC, timezone(timedelta(hours=9))]),
)


def reviews(questions: int = 1) -> st.SearchStrategy[Review]:
    return st.builds(review, st.sampled_from(sorted(ANSWERS)), _moments, st.integers(1, questions))
