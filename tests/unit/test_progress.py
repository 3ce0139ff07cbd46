"""The fold: what is known of a question, whatever the order in which its reviews are found."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.study.grading import WrongNote
from shared.study.progress import Progress, Review, advance, fold
from tests.reviews import NEW_YORK, SEOUL, day, review, reviews, standing, told, zones


def test_no_reviews_no_progress() -> None:
    assert fold([], SEOUL) is None


def test_everything_that_is_known() -> None:
    known = standing(told("wccr"))
    assert known == Progress(
        stability=known.stability,
        difficulty=known.difficulty,
        due=date(2026, 11, 8),
        last_reviewed_at=day(3),
        reviews=4,
        misses=1,
        corrects=2,
        miss_streak=0,
        correct_streak=0,
        wrong_note=WrongNote.OPEN,
        note_opened_at=day(3),
        note_closed_at=None,
    )
    assert (known.stability, known.difficulty) == pytest.approx((5.9977749, 7.5893670), abs=1e-6)


@pytest.mark.parametrize(
    ("story", "misses", "corrects", "miss_streak", "correct_streak"),
    [
        ("c", 0, 1, 0, 1),
        ("w", 1, 0, 1, 0),
        ("n", 1, 0, 1, 0),
        ("r", 0, 0, 0, 0),
        ("ccc", 0, 3, 0, 3),
        ("wnw", 3, 0, 3, 0),
        ("cw", 1, 1, 1, 0),
        ("wc", 1, 1, 0, 1),
        ("ccr", 0, 2, 0, 0),
        ("wwr", 2, 0, 0, 0),
        ("wrw", 2, 0, 1, 0),
        ("crc", 0, 2, 0, 1),
    ],
)
def test_counts_and_streaks(
    story: str, misses: int, corrects: int, miss_streak: int, correct_streak: int
) -> None:
    known = standing(told(story))
    assert (known.reviews, known.misses, known.corrects) == (len(story), misses, corrects)
    assert (known.miss_streak, known.correct_streak) == (miss_streak, correct_streak)


def test_I3_a_late_review_is_put_in_its_place() -> None:
    """Without it, the stability would be 0.747."""
    right, wrong, late = review("c", day(0)), review("w", day(9)), review("c", day(2))
    known = standing([right, wrong, late])
    assert known == standing([right, late, wrong])
    assert (known.last_reviewed_at, known.due) == (day(9), date(2026, 11, 9))
    assert known.stability == pytest.approx(1.4689195, abs=1e-6)


def test_I3_a_tie_is_broken_by_what_was_answered() -> None:
    """The miss goes first; the other order would give a stability of 0.775."""
    tied = [review("c"), review("w")]
    assert standing(tied) == standing(tied[::-1])
    assert standing(tied).stability == pytest.approx(0.2466892, abs=1e-6)
    assert standing(tied).correct_streak == 1


def test_reviews_are_ordered_by_true_time() -> None:
    """01:30 comes twice that night, first in summer time."""
    summer = datetime.fromisoformat("2026-11-01T01:30:00-04:00")
    winter = datetime.fromisoformat("2026-11-01T01:10:00-05:00")
    known = standing([review("w", winter), review("c", summer)], NEW_YORK)
    assert (known.last_reviewed_at, known.miss_streak) == (winter, 1)


def test_a_zone_decides_what_a_day_is() -> None:
    """18:30 and 19:30 in UTC are two study days in Seoul, and one in New York."""
    evening = datetime(2026, 10, 30, 18, 30, tzinfo=UTC)
    both = [review("c", evening), review("c", evening + timedelta(hours=1))]
    assert standing(both, SEOUL).stability > standing(both, NEW_YORK).stability


@given(st.data(), st.lists(reviews(), max_size=8), zones)
@settings(deadline=None)
def test_I3_progress_is_the_same_whatever_the_order(
    data: st.DataObject, found: list[Review], zone: ZoneInfo
) -> None:
    assert fold(data.draw(st.permutations(found)), zone) == fold(found, zone)


@given(st.lists(reviews(), max_size=8), zones)
@settings(deadline=None)
def test_one_by_one_is_all_at_once(found: list[Review], zone: ZoneInfo) -> None:
    known = None
    for each in sorted(found, key=lambda review: review.key):
        known = advance(known, each, zone)
    assert known == fold(found, zone)
