"""Verify runs while uploads are replayed: it neither reports them nor undoes them."""

import pytest
from sqlalchemy import Engine, update

from shared.models import StudyQuestionProgress
from shared.study.finalize import Checked, verify
from tests.factories import ANN, ZONES, answer, deliver, ingest, load, reviews, upload, work_off
from tests.faults import broken
from tests.race import at_once, overlap

AT, NEXT_DAY = "2026-10-20T09:00:00Z", "2026-10-21T09:00:00Z"
# Of a check: after the learners and the first one's zone their attempts are read, then their progress.
ATTEMPTS_READ = 2
SOUND = [Checked(learner, set()) for learner in ZONES]


@pytest.fixture(autouse=True)
def _progress(engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT), answer("q111", AT)))


def check(engine: Engine, *, repair: bool = False) -> list[Checked]:
    return list(verify(engine, repair=repair))


def test_a_replay_between_two_looks_is_no_difference(engine: Engine) -> None:
    sent = upload(answer("q110", NEXT_DAY))
    deliver(engine, sent)
    with broken(engine, "after", ATTEMPTS_READ, lambda _: work_off(engine, sent)):
        assert check(engine) == SOUND
    assert reviews(engine) == {110: 2, 111: 1}


def test_a_repair_waits_for_a_replay_and_counts_it(engine: Engine) -> None:
    row = StudyQuestionProgress
    with engine.begin() as connection:
        connection.execute(update(row).where(row.study_question_id == 110).values(reviews=7))
    sent = upload(answer("q111", NEXT_DAY))
    deliver(engine, sent)
    early, late = overlap(engine, lambda e: work_off(e, sent), lambda e: check(e, repair=True))
    early.result()
    assert late.result() == [Checked(ANN, {110}), *SOUND[1:]]
    assert reviews(engine) == {110: 1, 111: 2}
    assert check(engine) == SOUND


def test_it_finds_nothing_while_workers_replay(engine: Engine) -> None:
    many = [upload(answer("q110", f"2026-11-{n:02}T09:00:00Z"), answer("q120", AT)) for n in range(1, 31)]
    for each in many:
        deliver(engine, each)

    def work(number: int) -> list[Checked]:
        if number == 0:
            return [learner for _ in range(5) for learner in check(engine, repair=True)]
        for each in many[number - 1 :: 3]:
            work_off(engine, each)
        return []

    assert at_once(4, work)[0] == SOUND * 5
    assert reviews(engine) == {110: 31, 111: 1, 120: 30}
