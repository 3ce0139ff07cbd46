"""I2: each attempt exists once and spaced repetition advances once, however often an upload comes."""

from typing import Any

import pytest
from sqlalchemy import Engine

from shared.models import StudyQuestionAttempt, StudyQuizSession, Upload
from shared.study.finalize import verify
from shared.uploads import Verdict
from tests.factories import (
    WRONG,
    answer,
    deliver,
    everything,
    ingest,
    reviews,
    rows,
    statuses,
    upload,
    work_off,
)
from tests.race import at_once, overlap

MORNING, NOON = "2026-11-20T09:00:00Z", "2026-11-20T12:00:00Z"


pytestmark = pytest.mark.usefixtures("catalog")


def two_topics(at: str = MORNING) -> dict[str, Any]:
    return upload(answer("q110", at), answer("q120", at, WRONG), answer("q110", at, WRONG))


def differing(engine: Engine) -> set[int]:
    return {q for checked in verify(engine) for q in checked.differing}


def test_I2_ten_workers_on_one_upload_do_the_work_once(engine: Engine) -> None:
    sent = two_topics()
    deliver(engine, sent)
    at_once(10, lambda _: work_off(engine, sent))
    assert statuses(engine) == ["ingested"]
    assert len(rows(engine, StudyQuizSession)) == 2
    assert len(rows(engine, StudyQuestionAttempt)) == 3
    assert reviews(engine) == {110: 1, 120: 1}


def test_I2_ten_deliveries_at_once_are_one_upload(engine: Engine) -> None:
    sent = two_topics()
    verdicts = at_once(10, lambda _: deliver(engine, sent).verdict)
    assert sorted(map(str, verdicts)) == ["new", *["pending"] * 9]
    assert len(rows(engine, Upload)) == 1


def test_I2_a_delivery_waits_for_the_same_one_and_is_not_new(engine: Engine) -> None:
    sent = two_topics()
    early, late = overlap(engine, lambda e: deliver(e, sent).verdict, lambda e: deliver(e, sent).verdict)
    assert (early.result(), late.result()) == (Verdict.NEW, Verdict.PENDING)


def test_I2_what_is_ingested_stays_as_it_is(engine: Engine) -> None:
    sent = two_topics()
    ingest(engine, sent)
    before = everything(engine)
    assert deliver(engine, sent).verdict is Verdict.INGESTED
    work_off(engine, sent)
    assert everything(engine) == before


@pytest.mark.parametrize(("first", "second"), [(MORNING, NOON), (NOON, MORNING), (NOON, NOON)])
def test_I2_uploads_that_meet_at_a_question_are_folded(engine: Engine, first: str, second: str) -> None:
    early, late = two_topics(first), upload(answer("second110", second, WRONG), answer("q111", second))
    for each in (early, late):
        deliver(engine, each)
    for worker in overlap(engine, lambda e: work_off(e, early), lambda e: work_off(e, late)):
        worker.result()
    assert reviews(engine) == {110: 2, 111: 1, 120: 1}
    assert not differing(engine)


def test_I2_ten_uploads_of_one_learner_at_once_are_folded(engine: Engine) -> None:
    asked = ["q110", "q111", "q120"]

    def made(n: int) -> dict[str, Any]:
        at = f"2026-11-{20 - n % 7}T09:00:00Z"
        return upload(*(answer(pub_id, at, n % 3) for pub_id in (asked if n % 2 else reversed(asked))))

    many = [made(n) for n in range(10)]
    for each in many:
        deliver(engine, each)
    at_once(10, lambda n: work_off(engine, many[n]))
    assert reviews(engine) == {110: 10, 111: 10, 120: 10}
    assert not differing(engine)


def test_learners_do_not_wait_for_each_other(engine: Engine) -> None:
    ann, ben = upload(answer("q110", MORNING)), upload(answer("q210", MORNING))
    for each in (ann, ben):
        deliver(engine, each)

    def second(other: Engine) -> list[str]:
        work_off(other, ben)
        return statuses(other)

    _, late = overlap(engine, lambda e: work_off(e, ann), second)
    assert sorted(late.result()) == ["ingested", "received"]  # Ann's was not committed yet
