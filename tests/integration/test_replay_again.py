"""What a replay leaves alone, and what it recognises."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, delete, text, update

from shared.models import StudyQuestionProgress, StudyQuizSession, Upload
from tests.factories import (
    ARRIVAL,
    IMPOSSIBLE,
    answer,
    deliver,
    everything,
    forget,
    ingest,
    progress,
    reviews,
    rows,
    upload,
    work_off,
)

NINE, TEN = "2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z"


pytestmark = pytest.mark.usefixtures("catalog")


@pytest.mark.parametrize("status", ["rejected", "dead"])
def test_a_final_upload_is_left_alone(engine: Engine, status: str) -> None:
    sent = upload(answer("q110", NINE))
    deliver(engine, sent)
    close = text("UPDATE uploads SET status = :status, reason = :reason, finalized_at = now()")
    with engine.begin() as connection:
        connection.execute(close, {"status": status, "reason": "a reason" if status == "rejected" else None})
    before = everything(engine)
    work_off(engine, sent)
    assert everything(engine) == before


def test_an_unknown_upload_is_nothing_to_do(engine: Engine) -> None:
    before = everything(engine)
    work_off(engine, upload(answer("q110", NINE)))
    assert everything(engine) == before


def test_an_upload_whose_row_was_lost_is_recognised_by_its_sessions(engine: Engine) -> None:
    sent = upload(answer("q120", NINE), answer("q110", TEN), answer("q111", NINE, IMPOSSIBLE))
    ingest(engine, upload(answer("q111", NINE)))
    first = ingest(engine, sent)
    before = everything(engine)
    with engine.begin() as connection:
        connection.execute(delete(Upload).where(Upload.client_session_uuid == first.client_session_uuid))
    again = ingest(engine, sent, ARRIVAL + timedelta(days=1))
    assert (again.status, again.result) == ("ingested", first.result)
    assert everything(engine) | {"uploads": []} == before | {"uploads": []}


def test_an_open_live_session_is_not_in_the_way_and_not_counted(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""
            WITH live AS (INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids)
                VALUES (1, 11, '[110]') RETURNING user_id, id)
            INSERT INTO study_question_attempts (user_id, study_quiz_session_id, study_question_id, pub_id,
                ordinal, unsure, outcome, rating, counted, answered_at, answered_at_raw, study_date,
                clock_adjusted)
            SELECT user_id, id, 110, 'q110', 0, TRUE, 'unsure', 1, TRUE, moment, moment,
                CAST(moment AS date), FALSE
            FROM live, CAST('2026-11-20T09:30Z' AS timestamptz) AS moment
        """)
        )
    later, earlier = upload(answer("q110", TEN)), upload(answer("q110", NINE))
    assert [ingest(engine, sent).status for sent in (later, earlier)] == ["ingested"] * 2
    assert reviews(engine) == {110: 2}
    assert [row["status"] for row in rows(engine, StudyQuizSession)] == ["in_progress", "done", "done"]


def test_a_voided_session_counts_no_more_when_late_data_is_folded(engine: Engine) -> None:
    for at in (NINE, "2026-11-22T09:00:00Z"):
        ingest(engine, upload(answer("q110", at)))
    voided = text("UPDATE study_quiz_sessions SET voided_at = now() WHERE finished_at = :nine")
    with engine.begin() as connection:
        connection.execute(voided, {"nine": NINE})
    ingest(engine, upload(answer("q110", TEN)))
    assert reviews(engine) == {110: 2}


def test_progress_of_another_scheduler_is_folded_again(engine: Engine) -> None:
    first, second = upload(answer("q110", NINE)), upload(answer("q110", TEN))
    for sent in (first, second):
        ingest(engine, sent)
    sound = progress(engine)
    forget(engine)
    ingest(engine, first)
    with engine.begin() as connection:
        connection.execute(update(StudyQuestionProgress).values(stability=99, scheduler="another"))
    ingest(engine, second)
    assert progress(engine) == sound
