"""The fold: what is known of a question, whatever the order in which its reviews are found."""

from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.study.grading import WrongNote
from shared.study.progress import Cached, Decision, Progress, Review, advance, classify, decide, fold, late
from shared.study.scheduling import SCHEDULER
from tests.strategies import NEW_YORK, SEOUL, day, review, reviews, standing, told, zones

Log = dict[int, list[Review]]
QUESTIONS = 3
sessions = st.lists(reviews(QUESTIONS), min_size=1, unique_by=lambda each: each.question_id)


def by_question(found: Sequence[Review]) -> Log:
    log: Log = {}
    for each in found:
        log.setdefault(each.question_id, []).append(each)
    return log


def folded(log: Log, zone: ZoneInfo) -> dict[int, Progress]:
    return {question: standing(found, zone) for question, found in log.items()}


def cached(log: Log, zone: ZoneInfo = SEOUL) -> dict[int, Cached]:
    return {question: Cached(known, SCHEDULER, zone.key) for question, known in folded(log, zone).items()}


def arrive(session: Sequence[Review], log: Log, zone: ZoneInfo = SEOUL) -> Decision:
    """Decide as finalize does: with the history of the late questions only."""
    known = cached(log, zone)
    return decide(session, known, {each: log[each] for each in late(session, known, zone)}, zone)


def patterns(session: Sequence[Review], found: Sequence[Review]) -> tuple[int, ...]:
    """Count newly correct, recovered, relapsed and chronic."""
    return astuple(arrive(session, by_question(found)).counts)[3:]


NONE, NEWLY, RECOVERED, RELAPSED, CHRONIC = (
    (0, 0, 0, 0),
    (1, 0, 0, 0),
    (0, 1, 0, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
)


def test_a_question_without_progress_is_not_late() -> None:
    assert late([review("c")], {}, SEOUL) == set()


@pytest.mark.parametrize(
    ("since", "expected"),
    [(timedelta(microseconds=1), set()), (timedelta(0), {1}), (-timedelta(microseconds=1), {1})],
)
def test_only_what_is_strictly_newer_is_in_time(since: timedelta, expected: set[int]) -> None:
    known = cached({1: [review("c", day(1))]})
    assert late([review("c", day(1) + since)], known, SEOUL) == expected


def test_progress_of_another_scheduler_or_zone_is_folded_again() -> None:
    known = Cached(standing(told("c")), SCHEDULER, "Asia/Seoul")
    newer = [review("c", day(1), question) for question in (1, 2, 3)]
    found = {1: known, 2: replace(known, scheduler="fsrs 5"), 3: replace(known, time_zone="America/New_York")}
    assert late(newer, found, SEOUL) == {2, 3}
    assert late(newer, found, NEW_YORK) == {1, 2}


def test_outcomes_are_counted() -> None:
    session = [review(letter, question=number) for number, letter in enumerate("ccwnrr")]
    counts = arrive(session, {}).counts
    assert (counts.correct, counts.wrong, counts.unsure) == (2, 1, 3)


def test_a_session_of_nothing_decides_nothing() -> None:
    decision = arrive([], by_question(told("c")))
    assert decision.progress == {}
    assert set(astuple(decision.counts)) == {0}


@pytest.mark.parametrize(
    ("story", "letter", "expected"),
    [("", "c", NEWLY), ("cw", "c", RECOVERED), ("c", "w", RELAPSED), ("ww", "n", CHRONIC), ("w", "w", NONE)],
)
def test_patterns_are_counted(story: str, letter: str, expected: tuple[int, ...]) -> None:
    assert patterns([review(letter, day(len(story)))], told(story)) == expected


def test_patterns_are_counted_over_all_questions() -> None:
    session = [review("c", day(5), 1), review("w", day(5), 2), review("c", day(5), 3), review("w", day(5), 4)]
    found = [*told("cw", 1), *told("c", 2), *told("wcw", 3), *told("www", 4)]
    assert patterns(session, found) == (0, 2, 1, 1)


@pytest.mark.parametrize(
    ("letter", "at", "expected"),
    [("c", -1, NEWLY), ("w", 0.5, RELAPSED), ("c", 1.5, RECOVERED), ("w", 1.5, NONE), ("w", 2.5, CHRONIC)],
)
def test_a_late_session_counts_from_its_place_in_time(
    letter: str, at: float, expected: tuple[int, ...]
) -> None:
    """The others are a correct answer on day 0, and misses on days 1, 2 and 3."""
    assert patterns([review(letter, day(0) + timedelta(days=at))], told("cwww")) == expected


def test_among_equals_a_session_comes_last() -> None:
    """The third miss in a row, given in the same moment as the second."""
    assert patterns([review("w", day(1))], told("ww")) == CHRONIC


def test_a_tie_is_broken_by_what_was_answered() -> None:
    """The miss comes before the correct answer of the same moment, and so is no relapse."""
    assert patterns([review("w", day(0))], told("c")) == NONE
    assert patterns([review("c", day(0))], told("w")) == NEWLY


def test_I3_what_is_late_is_put_in_its_place() -> None:
    found = [review("c", day(0)), review("w", day(9))]
    decision = arrive([review("c", day(2))], {1: found})
    assert decision.progress[1].stability == pytest.approx(1.4689195, abs=1e-6)
    assert decision.progress[1].last_reviewed_at == day(9)


def test_a_late_question_without_other_reviews_starts_afresh() -> None:
    """What its progress was folded from is void by now."""
    known = {1: Cached(standing(told("www")), "fsrs 5", "Asia/Seoul")}
    decision = decide([review("c", day(5))], known, {1: []}, SEOUL)
    assert decision.progress[1] == standing([review("c", day(5))])
    assert decision.counts.newly_correct == 1


@given(sessions, st.lists(reviews(QUESTIONS), max_size=8), zones)
@settings(deadline=None)
def test_what_is_cached_says_as_much_as_the_history(
    session: list[Review], found: list[Review], zone: ZoneInfo
) -> None:
    log = by_question(found)
    history = {question: log.get(question, []) for question in range(1, QUESTIONS + 1)}
    assert arrive(session, log, zone) == decide(session, {}, history, zone)


@given(sessions, st.lists(reviews(QUESTIONS), max_size=8), zones)
@settings(deadline=None)
def test_the_order_of_a_session_is_that_of_its_times(
    session: list[Review], found: list[Review], zone: ZoneInfo
) -> None:
    log = by_question(found)
    assert arrive(session[::-1], log, zone) == arrive(session, log, zone)


@given(st.data(), st.lists(sessions, min_size=2, max_size=5), zones)
@settings(deadline=None)
def test_I3_sessions_may_arrive_in_any_order(
    data: st.DataObject, made: list[list[Review]], zone: ZoneInfo
) -> None:
    log: Log = {}
    progress: dict[int, Progress] = {}
    for session in data.draw(st.permutations(made)):
        kept = {question: Cached(known, SCHEDULER, zone.key) for question, known in progress.items()}
        history = {question: log[question] for question in late(session, kept, zone)}
        progress |= decide(session, kept, history, zone).progress
        for each in session:
            log.setdefault(each.question_id, []).append(each)
    assert progress == folded(by_question([each for session in made for each in session]), zone)


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("c", "newly_correct"),
        ("wc", "newly_correct"),
        ("wwwc", "newly_correct"),
        ("rc", "newly_correct"),
        ("nrc", "newly_correct"),
        ("cc", None),
        ("crc", None),
        ("cwrc", None),
        ("wcc", None),
        ("cwc", "recovered"),
        ("cnc", "recovered"),
        ("cwwwc", "recovered"),
        ("crwc", "recovered"),
        ("cw", "relapsed"),
        ("cn", "relapsed"),
        ("ccw", "relapsed"),
        ("wwwcw", "relapsed"),
        ("w", None),
        ("n", None),
        ("ww", None),
        ("crw", None),
        ("cww", None),
        ("www", "chronic"),
        ("wnn", "chronic"),
        ("wwww", "chronic"),
        ("cwww", "chronic"),
        ("rwww", "chronic"),
        ("wwrw", None),
        ("wwrww", None),
        ("wwrwww", "chronic"),
        ("wwcww", None),
        ("r", None),
        ("cr", None),
        ("wwr", None),
        ("wwwr", None),
        ("cwr", None),
    ],
)
def test_the_pattern_of_the_last_answer(story: str, expected: str | None) -> None:
    *before, last = told(story)
    assert classify(fold(before, SEOUL), last) == expected


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
