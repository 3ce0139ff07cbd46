"""The sample shows what it promises: found out by the engine alone."""

from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from fsrs import Rating

from cli import sample
from cli.demo import LEARNER, OLD_EDITION, QUESTION
from shared.payload import Upload, parse_upload
from shared.plan import Fate, Plan, PlannedAttempt, Question, make_plan
from shared.study.grading import Outcome
from shared.study.progress import Pattern, Review, classify, fold

CATALOG = sample.read_catalog()
QUESTIONS = {
    edition.pub_id: Question(
        each.id,
        each.user_id,
        each.study_topic_id,
        each.subject,
        len(edition.choices),
        edition.correct_choice,
        edition.published_at,
    )
    for each, edition in CATALOG.editions
}
PUB_IDS = {each.id: each.editions[0].pub_id for each in CATALOG.questions}
(ZONE,) = (ZoneInfo(user.time_zone or "") for user in CATALOG.users)
EARLIER = [parse_upload(text.encode()) for text in sample.earlier_uploads()]
MAIN = parse_upload(sample.main_upload().encode())
RECEIVED_AT = datetime(2026, 11, 22, tzinfo=UTC)


def planned(upload: Upload) -> Plan:
    return make_plan(upload, RECEIVED_AT, QUESTIONS, ZONE)


def counted(plan: Plan) -> list[PlannedAttempt]:
    return [each for topic in plan.topics.values() for each in topic if each.ordinal in plan.counted]


def reviews(attempts: Iterable[PlannedAttempt]) -> list[Review]:
    return [
        Review(each.question.id, each.answered_at, each.study_date, each.rating, each.outcome, counted=True)
        for each in attempts
    ]


def patterns() -> dict[str, Pattern | None]:
    history = [review for upload in EARLIER for review in reviews(counted(planned(upload)))]
    return {
        PUB_IDS[review.question_id]: classify(
            fold(other for other in history if other.question_id == review.question_id), review
        )
        for review in reviews(counted(planned(MAIN)))
    }


def test_forty_questions_of_one_learner() -> None:
    assert [user.id for user in CATALOG.users] == [LEARNER]
    assert len({each.id for each in CATALOG.questions}) == 40
    assert len(QUESTIONS) == 41  # one has two editions
    for topic in CATALOG.topics:
        assert len({each.subject for each in CATALOG.questions if each.study_topic_id == topic.id}) >= 3
    assert {each.correct_choice for _, each in CATALOG.editions} == {0, 1, 2, 3}
    assert all(len(set(each.choices)) == 4 for _, each in CATALOG.editions)


def test_the_sessions_lie_in_the_past_and_do_not_overlap() -> None:
    ends = [datetime(2026, 11, 1, tzinfo=UTC)]
    for upload in [*EARLIER, MAIN]:
        times = [each.answered_at for each in upload.attempts]
        assert upload.started_at
        assert upload.finished_at
        assert upload.sent_at
        assert ends[-1] < upload.started_at < times[0]
        assert times == sorted(set(times))
        assert times[-1] < upload.finished_at < upload.sent_at < RECEIVED_AT
        ends.append(upload.sent_at)
    assert len({upload.client_session_uuid for upload in [*EARLIER, MAIN]}) == len(EARLIER) + 1


def test_the_earlier_sessions_are_plain() -> None:
    fates = {fate for upload in EARLIER for fate in planned(upload).fates}
    assert fates == {Fate.COUNTED, Fate.PRACTICE}


def test_the_main_session_shows_every_outcome() -> None:
    shown = {(each.outcome, each.rating, each.selected is None) for each in counted(planned(MAIN))}
    assert shown == {
        (Outcome.CORRECT, Rating.Good, False),
        (Outcome.WRONG, Rating.Again, False),
        (Outcome.UNSURE, Rating.Hard, False),
        (Outcome.UNSURE, Rating.Again, False),
        (Outcome.UNSURE, Rating.Again, True),
    }


def test_the_main_session_shows_every_pattern_and_answers_that_have_none() -> None:
    assert set(patterns().values()) == {*Pattern, None}


def test_the_main_session_shows_a_repeat_and_an_unknown_question() -> None:
    fates = planned(MAIN).fates
    assert fates.count(Fate.PRACTICE) == fates.count(Fate.UNKNOWN_QUESTION) == 1
    assert set(fates) == {Fate.COUNTED, Fate.PRACTICE, Fate.UNKNOWN_QUESTION}


def test_the_question_to_answer_oneself_has_never_been_answered_right() -> None:
    assert patterns()[QUESTION] is Pattern.CHRONIC


def test_the_old_edition_has_another_key_than_the_new_one() -> None:
    (question,) = (each for each in CATALOG.questions if len(each.editions) > 1)
    old, new = question.editions
    assert (old.pub_id, old.published_at) == (OLD_EDITION, None)
    assert (sorted(old.choices), old.correct_choice != new.correct_choice) == (sorted(new.choices), True)
    assert new.published_at
    assert MAIN.started_at
    assert new.published_at < MAIN.started_at
