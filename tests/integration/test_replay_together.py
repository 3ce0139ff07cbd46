"""Several uploads replayed in one transaction end as each would by itself."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared import db
from shared.errors import OvertakenError
from shared.models import StudyQuestionAttempt, StudyQuizSession
from shared.uploads import second_uuid
from tests.factories import (
    ANN,
    ARRIVAL,
    IMPOSSIBLE,
    WRONG,
    answer,
    deliver,
    forget,
    progress,
    reviews,
    rows,
    sound,
    standing,
    upload,
    uuid_of,
    work_off,
)

Sent = dict[str, Any]

pytestmark = pytest.mark.usefixtures("catalog")


def at(day: int) -> str:
    return f"2026-11-{day:02}T09:00:00Z"


SENT = [
    upload(answer("q110", at(3), WRONG), answer("q120", at(3))),  # Ann's, of two topics
    upload(answer("q110", at(9)), answer("q110", at(9), WRONG)),  # newer, with practice
    upload(answer("q110", at(1)), answer("q111", at(1), IMPOSSIBLE)),  # older than both
    upload(answer("q210", at(3))),  # Ben's
    upload(answer("unknown", at(3))),
    upload(answer("q110", at(3)), answer("q210", at(3))),
    upload(answer("q111", at(3), IMPOSSIBLE)),
    upload(answer("q310", at(3)), answer("unknown", at(3))),  # Cho's
]


def arrive(engine: Engine, sent: Iterable[Sent]) -> None:
    for minute, each in enumerate(sent):
        deliver(engine, each, ARRIVAL + timedelta(minutes=minute))


def found(engine: Engine) -> list[Any]:
    """Return what each upload became, ids of sessions aside."""
    ends = [standing(engine, each) for each in SENT]
    for each in ends:
        for topic in each.result["topics"]:
            del topic["session_id"]
    return [(each.status, each.reason, each.result) for each in ends]


def test_several_end_as_each_by_itself(engine: Engine) -> None:
    arrive(engine, SENT)
    for each in SENT:
        work_off(engine, each)
    alone = (found(engine), progress(engine), [row["kind"] for row in _events(engine)])
    assert [status for status, *_ in alone[0]].count("rejected") == 3
    forget(engine)
    arrive(engine, SENT)
    done = work_off(engine, *reversed(SENT))
    assert done.keys() == {uuid_of(each) for each in SENT}
    assert (found(engine), progress(engine), [row["kind"] for row in _events(engine)]) == alone
    assert sound(engine)


def _events(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT kind FROM upload_events ORDER BY kind")).mappings())


def test_ten_take_the_statements_of_one(engine: Engine) -> None:
    sent = [upload(answer(f"q{learner}10", at(day))) for day in range(1, 4) for learner in (1, 2, 3)]
    arrive(engine, sent)
    before = db.statements_sent()
    work_off(engine, sent[0])
    one = db.statements_sent() - before
    work_off(engine, *sent[1:])
    assert db.statements_sent() - before == 2 * one


def test_what_is_final_or_unknown_is_left_as_it_is(engine: Engine) -> None:
    first, second, unknown = upload(answer("q110", at(1))), upload(answer("q111", at(1))), upload()
    arrive(engine, [first, second])
    work_off(engine, first)
    before = rows(engine, StudyQuizSession)
    done = work_off(engine, first, unknown, second, second)
    assert done.keys() == {uuid_of(second)}
    assert rows(engine, StudyQuizSession)[: len(before)] == before
    assert reviews(engine) == {110: 1, 111: 1}


def test_I2_one_session_under_both_of_its_uuids_is_not_replayed_together(engine: Engine) -> None:
    """By a trusted sender and by the learner: each would miss the other's sessions."""
    sent = upload(answer("q110", at(1)))
    arrive(engine, [sent])
    own = {"id": second_uuid(uuid_of(sent), ANN), "learner": ANN}
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, learner_id,
                    next_try_at)
                SELECT :id, payload, content_hash, received_at, :learner, next_try_at FROM uploads
            """),
            own,
        )
    both = [sent, {"client_session_uuid": str(own["id"])}]
    with pytest.raises(OvertakenError):
        work_off(engine, *both)
    for each in both:
        work_off(engine, each)
    assert len(rows(engine, StudyQuestionAttempt)) == 1
    assert reviews(engine) == {110: 1}
