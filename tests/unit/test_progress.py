"""The fold: what is known of a question, whatever the order in which its reviews are found."""

import runpy
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial

import fsrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.study import progress as module
from shared.study import scheduling
from shared.study.progress import (
    SCHEDULER,
    Cached,
    Decision,
    Progress,
    Review,
    WrongNote,
    advance,
    classify,
    decide,
    find_to_refold,
    fold,
    forgetting_curve,
)
from tests.strategies import answered, day, review, reviews, standing

Log = dict[int, list[Review]]
QUESTIONS = 3


def as_session(found: list[Review]) -> list[Review]:
    """Count the first answer at each question; the others are practice."""
    session: list[Review] = []
    for each in sorted(found, key=lambda each: each.answered_at):
        first = all(each.question_id != other.question_id for other in session)
        session.append(each._replace(counted=first))
    return session


sessions = st.lists(reviews(QUESTIONS), min_size=1).map(as_session)


def by_question(found: Sequence[Review]) -> Log:
    log: Log = {}
    for each in found:
        log.setdefault(each.question_id, []).append(each)
    return log


def folded(log: Log) -> dict[int, Progress]:
    return {question: standing(found) for question, found in log.items()}


def cached(log: Log) -> dict[int, Cached]:
    return {question: Cached(known, SCHEDULER) for question, known in folded(log).items()}


def arrive(session: Sequence[Review], log: Log) -> Decision:
    """Decide as finalize does: with the histories of the late questions only."""
    known = cached(log)
    (decision,) = decide([session], known, {each: log[each] for each in find_to_refold([session], known)})
    return decision


def patterns(session: Sequence[Review], found: Sequence[Review]) -> tuple[int, ...]:
    """Count newly correct, recovered, relapsed and chronic."""
    return arrive(session, by_question(found)).counts[3:]


NONE, NEWLY, RECOVERED, RELAPSED, CHRONIC = (
    (0, 0, 0, 0),
    (1, 0, 0, 0),
    (0, 1, 0, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
)


def test_a_question_without_progress_is_not_late() -> None:
    assert find_to_refold([[review("c")]], {}) == set()


@pytest.mark.parametrize(
    ("since", "expected"),
    [(timedelta(microseconds=1), set()), (timedelta(0), {1}), (-timedelta(microseconds=1), {1})],
)
def test_only_what_is_strictly_newer_is_in_time(since: timedelta, expected: set[int]) -> None:
    known = cached({1: [review("c", day(1))]})
    assert find_to_refold([[review("c", day(1) + since)]], known) == expected


def test_progress_of_another_scheduler_is_folded_again() -> None:
    known = Cached(standing(answered("c")), SCHEDULER)
    newer = [review("c", day(1), question) for question in (1, 2)]
    assert find_to_refold([newer], {1: known, 2: known._replace(scheduler="fsrs 5")}) == {2}


def test_what_is_newer_than_the_counted_answer_but_not_than_practice_is_late() -> None:
    known = cached({1: [review("c", day(0)), review("p", day(2))]})
    assert find_to_refold([[review("c", day(1))]], known) == {1}


def test_outcomes_are_counted() -> None:
    session = [review(letter, question=number) for number, letter in enumerate("ccwnrr")]
    counts = arrive(session, {}).counts
    assert (counts.correct, counts.wrong, counts.unsure) == (2, 1, 3)


def test_a_session_of_nothing_decides_nothing() -> None:
    decision = arrive([], by_question(answered("c")))
    assert decision.progress == {}
    assert set(decision.counts) == {0}


@pytest.mark.parametrize(
    ("letters", "letter", "expected"),
    [("", "c", NEWLY), ("cw", "c", RECOVERED), ("c", "w", RELAPSED), ("ww", "n", CHRONIC), ("w", "w", NONE)],
)
def test_patterns_are_counted(letters: str, letter: str, expected: tuple[int, ...]) -> None:
    assert patterns([review(letter, day(len(letters)))], answered(letters)) == expected


def test_patterns_are_counted_over_all_questions() -> None:
    session = [review("c", day(5), 1), review("w", day(5), 2), review("c", day(5), 3), review("w", day(5), 4)]
    found = [*answered("cw", 1), *answered("c", 2), *answered("wcw", 3), *answered("www", 4)]
    assert patterns(session, found) == (0, 2, 1, 1)


@pytest.mark.parametrize(
    ("letter", "at", "expected"),
    [("c", -1, NEWLY), ("w", 0.5, RELAPSED), ("c", 1.5, RECOVERED), ("w", 1.5, NONE), ("w", 2.5, CHRONIC)],
)
def test_a_late_session_counts_from_its_place_in_time(
    letter: str, at: float, expected: tuple[int, ...]
) -> None:
    """The others are a correct answer on day 0, and misses on days 1, 2 and 3."""
    assert patterns([review(letter, day(0) + timedelta(days=at))], answered("cwww")) == expected


def test_practice_of_a_session_is_no_outcome_and_no_pattern() -> None:
    session = [review("w", day(5)), review("f", day(6)), review("f", day(7)), review("p", day(8))]
    decision = arrive(session, by_question(answered("c")))
    assert decision.counts == (0, 1, 0, 0, 0, 1, 0)
    assert (decision.progress[1].reviews, decision.progress[1].last_answered_at) == (2, day(8))


def test_a_pattern_does_not_see_practice() -> None:
    """Two counted misses, and two practised between and after them."""
    assert patterns([review("w", day(4))], answered("wfwf")) == CHRONIC
    assert patterns([review("c", day(2))], answered("fp")) == NEWLY


def test_among_equals_a_session_comes_last() -> None:
    """The third miss in a row, given in the same moment as the second."""
    assert patterns([review("w", day(1))], answered("ww")) == CHRONIC


def test_a_tie_is_broken_by_what_was_answered() -> None:
    """The miss comes before the correct answer of the same moment, and so is no relapse."""
    assert patterns([review("w", day(0))], answered("c")) == NONE
    assert patterns([review("c", day(0))], answered("w")) == NEWLY


def test_I3_what_is_late_is_put_in_its_place() -> None:
    found = [review("c", day(0)), review("w", day(9))]
    decision = arrive([review("c", day(2))], {1: found})
    assert decision.progress[1].stability == pytest.approx(1.4689195, abs=1e-6)
    assert decision.progress[1].last_answered_at == day(9)


def test_a_late_question_without_other_reviews_starts_afresh() -> None:
    """What its progress was folded from is void by now."""
    known = {1: Cached(standing(answered("www")), "fsrs 5")}
    (decision,) = decide([[review("c", day(5))]], known, {1: []})
    assert decision.progress[1] == standing([review("c", day(5))])
    assert decision.counts.newly_correct == 1


@given(sessions, st.lists(reviews(QUESTIONS), max_size=8))
@settings(deadline=None)
def test_what_is_cached_says_as_much_as_the_history(session: list[Review], found: list[Review]) -> None:
    log = by_question(found)
    history = {question: log.get(question, []) for question in range(1, QUESTIONS + 1)}
    assert [arrive(session, log)] == decide([session], {}, history)


@given(sessions, st.lists(reviews(QUESTIONS), max_size=8))
@settings(deadline=None)
def test_the_order_of_a_session_is_that_of_its_times(session: list[Review], found: list[Review]) -> None:
    log = by_question(found)
    assert arrive(session[::-1], log) == arrive(session, log)


@given(st.data(), st.lists(sessions, min_size=2, max_size=5))
@settings(deadline=None)
def test_I3_sessions_may_arrive_in_any_order(data: st.DataObject, made: list[list[Review]]) -> None:
    log: Log = {}
    progress: dict[int, Progress] = {}
    for session in data.draw(st.permutations(made)):
        known = {question: Cached(each, SCHEDULER) for question, each in progress.items()}
        history = {question: log[question] for question in find_to_refold([session], known)}
        (decision,) = decide([session], known, history)
        progress |= decision.progress
        for each in session:
            log.setdefault(each.question_id, []).append(each)
    assert progress == folded(by_question([each for session in made for each in session]))


@given(st.lists(sessions, min_size=2, max_size=4), st.lists(reviews(QUESTIONS), max_size=8))
@settings(deadline=None)
def test_I3_sessions_are_decided_together_as_one_after_the_other(
    made: list[list[Review]], found: list[Review]
) -> None:
    log = by_question(found)
    known = cached(log)
    history = {question: log.get(question, []) for question in find_to_refold(made, known)}
    for session, decision in zip(made, decide(made, known, history), strict=True):
        assert decision == arrive(session, log)
        for each in session:
            log.setdefault(each.question_id, []).append(each)


@pytest.mark.parametrize(
    ("letters", "expected"),
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
def test_the_pattern_of_the_last_answer(letters: str, expected: str | None) -> None:
    *before, last = answered(letters)
    assert classify(fold(before), last) == expected


def test_no_reviews_no_progress() -> None:
    assert fold([]) is None


def test_everything_that_is_known() -> None:
    known = standing([*answered("wccr"), review("p", day(5))])
    assert known == Progress(
        stability=known.stability,
        difficulty=known.difficulty,
        due=date(2026, 11, 3),
        due_at_most=date(2026, 11, 3),
        last_answered_at=day(5),
        last_study_date=date(2026, 11, 4),
        reviews=4,
        misses=1,
        corrects=2,
        miss_streak=0,
        correct_streak=0,
        correct_since=None,
        wrong_note=WrongNote.OPEN,
        note_opened_at=day(3),
        note_closed_at=None,
    )


@pytest.mark.parametrize(
    ("letters", "misses", "corrects", "miss_streak", "correct_streak"),
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
    letters: str, misses: int, corrects: int, miss_streak: int, correct_streak: int
) -> None:
    known = standing(answered(letters))
    assert (known.reviews, known.misses, known.corrects) == (len(letters), misses, corrects)
    assert (known.miss_streak, known.correct_streak) == (miss_streak, correct_streak)


def test_I3_a_late_review_is_put_in_its_place() -> None:
    """Without it, the stability would be 0.747."""
    right, wrong, late = review("c", day(0)), review("w", day(9)), review("c", day(2))
    known = standing([right, wrong, late])
    assert known == standing([right, late, wrong])
    assert (known.last_answered_at, known.due) == (day(9), date(2026, 11, 9))
    assert known.stability == pytest.approx(1.4689195, abs=1e-6)


def test_I3_a_tie_is_broken_by_what_was_answered() -> None:
    """The miss goes first; the other order would give a stability of 0.775."""
    tied = [review("c"), review("w")]
    assert standing(tied) == standing(tied[::-1])
    assert standing(tied).stability == pytest.approx(0.2466892, abs=1e-6)
    assert standing(tied).correct_streak == 1


def test_of_one_moment_practice_comes_after_what_is_counted() -> None:
    miss, practice = review("w", day(1)), review("p", day(1))
    assert standing([practice, miss]).memory == standing(on("wp", 1, 1)).memory
    assert standing([practice, miss]).memory != standing(on("pw", 1, 1)).memory


def test_I3_a_moment_written_with_two_offsets_is_put_in_order() -> None:
    """One device went by Seoul's clock, the other by Los Angeles'; both answers are of one moment."""
    tied = [review("c", day(1), on=date(2026, 11, number)) for number in (1, 2)]
    assert standing([*answered("c"), *tied]) == standing([*answered("c"), *tied[::-1]])


@given(st.data(), st.lists(reviews(), max_size=8))
@settings(deadline=None)
def test_I3_progress_is_the_same_whatever_the_order(data: st.DataObject, found: list[Review]) -> None:
    assert fold(data.draw(st.permutations(found))) == fold(found)


@given(st.lists(reviews(), max_size=8))
@settings(deadline=None)
def test_one_by_one_is_all_at_once(found: list[Review]) -> None:
    known = None
    for each in sorted(found, key=lambda review: review.sort_key):
        known = advance(known, each)
    assert known == fold(found)


@given(st.lists(reviews(), min_size=1, max_size=8))
@settings(deadline=None)
def test_practice_moves_memory_and_nothing_else(found: list[Review]) -> None:
    counted = [each for each in found if each.counted]
    known, without = standing(found), fold(counted)
    assert known.reviews == len(counted)
    if without:
        moved = ("stability", "difficulty", "due", "due_at_most", "last_answered_at", "last_study_date")
        # A date that practice carried on makes a later one the same: what closes a note may come later.
        by_date = ("correct_since", "wrong_note", "note_opened_at", "note_closed_at")
        for name in set(Progress._fields) - {*moved, *by_date}:
            assert getattr(known, name) == getattr(without, name)


def on(letters: str, *days: int) -> list[Review]:
    """Answer on these days, five minutes apart where they are the same."""
    return [
        review(letter, day(number) + timedelta(minutes=5 * place))
        for place, (letter, number) in enumerate(zip(letters, days, strict=True))
    ]


FIRST = date(2026, 10, 30)


@pytest.mark.parametrize(("counted", "practice"), [("cc", "cp"), ("wc", "wp"), ("cw", "cf"), ("wr", "wu")])
def test_practice_moves_memory_as_any_answer_does(counted: str, practice: str) -> None:
    """By FSRS' formula of the same day."""
    practised = standing(on(practice, 0, 0))
    assert practised.memory == standing(on(counted, 0, 0)).memory
    assert practised.memory != standing(on(practice[0], 0)).memory
    assert practised.reviews == 1


def test_a_date_never_goes_back() -> None:
    """West of the last answer it is still yesterday: the memory is that of a second answer on one day."""
    first = review("c", day(1), on=date(2026, 11, 1))
    west = review("c", day(1) + timedelta(hours=3), on=date(2026, 10, 31))
    known = standing([first, west])
    assert known.last_study_date == date(2026, 11, 1)
    assert known == standing([first, west._replace(study_date=date(2026, 11, 1))])


@pytest.mark.parametrize(
    ("letters", "days", "at_most"),
    [
        ("r", [0], 1),
        ("rr", [0, 0], 1),
        ("cr", [0, 2], 3),
        ("cr", [0, 5], 7),
        ("cr", [0, 90], 135),
        ("cpr", [0, 60, 90], 105),
        ("crp", [0, 90, 100], 135),
        ("cru", [0, 90, 100], 135),
        ("crc", [0, 90, 100], None),
        ("crw", [0, 90, 100], None),
        ("cu", [0, 90], None),
        ("cn", [0, 90], None),
    ],
)
def test_unsure_but_right_is_asked_again_soon(letters: str, days: list[int], at_most: int | None) -> None:
    """Within half of what has passed, until the next counted answer; practice in between changes nothing."""
    known = standing(on(letters, *days))
    assert known.due_at_most == (None if at_most is None else FIRST + timedelta(days=at_most))
    memory, free = scheduling.review(None, FIRST, FIRST, on(letters, *days)[0].rating)
    for last, at, each in zip(days, days[1:], on(letters, *days)[1:], strict=False):
        memory, free = scheduling.review(
            memory, FIRST + timedelta(days=last), FIRST + timedelta(days=at), each.rating
        )
    assert known.memory == memory
    assert known.due == (min(free, known.due_at_most) if known.due_at_most else free)


def test_unsure_but_right_long_after_is_due_before_what_memory_says() -> None:
    assert standing(on("ccr", 0, 2, 60)).due == FIRST + timedelta(days=60 + 29)
    assert standing(on("ccc", 0, 2, 60)).due > FIRST + timedelta(days=60 + 100)


@pytest.mark.parametrize(
    ("letters", "note", "opened", "closed"),
    [
        ("c", "none", None, None),
        ("ccc", "none", None, None),
        ("w", "open", 0, None),
        ("n", "open", 0, None),
        ("r", "open", 0, None),
        ("cr", "open", 1, None),
        ("ww", "open", 0, None),
        ("wrn", "open", 0, None),
        ("wc", "open", 0, None),
        ("wcc", "closed", 0, 2),
        ("wccc", "closed", 0, 2),
        ("rcc", "closed", 0, 2),
        ("wcrc", "open", 0, None),
        ("wcwcc", "closed", 0, 4),
        ("wccw", "open", 3, None),
        ("wccr", "open", 3, None),
        ("wccwc", "open", 3, None),
        ("wccwcc", "closed", 3, 5),
    ],
)
def test_a_note_and_its_times(letters: str, note: str, opened: int | None, closed: int | None) -> None:
    """`opened` and `closed` number the answer that moved it."""
    known = standing(answered(letters))
    assert known.wrong_note == note
    assert known.note_opened_at == (None if opened is None else day(opened))
    assert known.note_closed_at == (None if closed is None else day(closed))


@pytest.mark.parametrize(
    ("letters", "days", "note"),
    [
        ("wcc", [0, 0, 0], "open"),
        ("wcc", [0, 1, 1], "open"),
        ("wccc", [0, 1, 1, 1], "open"),
        ("wcc", [0, 0, 1], "closed"),
        ("wccc", [0, 1, 1, 2], "closed"),
        ("wcrc", [0, 0, 0, 1], "open"),
        ("wcp", [0, 0, 1], "open"),
        ("wcpc", [0, 0, 1, 1], "closed"),
        ("wcfc", [0, 0, 1, 2], "closed"),
    ],
)
def test_a_note_closes_when_corrects_lie_on_two_study_dates(letters: str, days: list[int], note: str) -> None:
    assert standing(on(letters, *days)).wrong_note == note


def test_a_curve_falls_from_review_to_review() -> None:
    curve = forgetting_curve(
        [*answered("w"), review("c", day(3)), review("p", day(3))], FIRST + timedelta(days=9)
    )
    assert [step.recall for step in curve.steps] == [None, curve.points[3][1], 1.0]
    assert [point[0] for point in curve.points] == [
        *(FIRST + timedelta(days=n) for n in range(4)),
        FIRST + timedelta(days=3),
        *(FIRST + timedelta(days=n) for n in range(3, 10)),
    ]
    assert forgetting_curve([], FIRST).points == []


def test_a_curve_of_years_is_no_longer_than_a_screen() -> None:
    assert len(forgetting_curve(answered("c"), FIRST + timedelta(days=9000)).points) < 125


def reloaded() -> str:
    name = runpy.run_path(str(module.__file__))["SCHEDULER"]
    assert isinstance(name, str)
    return name


def test_a_scheduler_is_named_by_its_parameters_and_by_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {SCHEDULER}
    steady = partial(fsrs.Scheduler, learning_steps=(), relearning_steps=(), enable_fuzzing=False)
    for change in ({"desired_retention": 0.8}, {"parameters": (0.3, *fsrs.Scheduler().parameters[1:])}):
        monkeypatch.setattr(scheduling, "_SCHEDULER", steady(**change))
        names.add(reloaded())
        monkeypatch.undo()
    monkeypatch.setattr(scheduling, "PARAMETERS", (1, 2, 3))
    names.add(reloaded())
    assert len(names) == 4


def test_another_version_that_does_the_same_has_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "6.99")
    assert reloaded() == SCHEDULER
