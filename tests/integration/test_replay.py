"""What a replay makes of an upload: a session for each topic, and a result."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, Row, text

from shared.models import StudyQuizSession
from tests.factories import NOW, RIGHT, WRONG, answer, ingest, rows, upload
from tests.processes import until

NINE, TEN, NEXT_DAY = "2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z", "2026-11-21T09:00:00Z"


pytestmark = pytest.mark.usefixtures("catalog")


def test_every_topic_becomes_a_session_that_is_done(engine: Engine) -> None:
    sent = upload(answer("q120", NINE), answer("q111", TEN), answer("q110", TEN, WRONG), answer("q111", TEN))
    found = ingest(engine, sent | {"finished_at": "2026-11-20T19:30:00+09:00"})
    assert found.status == "ingested"
    second, first = rows(engine, StudyQuizSession)
    assert (first["question_ids"], first["cursor"]) == ([111, 110], 2)
    assert first["subject_distribution"] == {"subject 0": 1, "subject 1": 1}
    assert (first["correct_count"], first["wrong_count"], first["newly_correct_count"]) == (1, 1, 1)
    for session, topic in ((first, 11), (second, 12)):
        assert (session["user_id"], session["study_topic_id"], session["status"]) == (1, topic, "done")
        assert (session["source"], session["client_session_uuid"]) == ("viewer", sent["client_session_uuid"])
        assert (session["finished_at"], session["finalized_at"]) == (
            datetime(2026, 11, 20, 10, 30, tzinfo=UTC),
            NOW,
        )


def test_a_session_without_an_end_ends_with_its_topics_last_answer(engine: Engine) -> None:
    ingest(engine, upload(answer("q110", TEN), answer("q111", NINE), answer("q120", NINE)))
    ends = {row["study_topic_id"]: row["finished_at"].hour for row in rows(engine, StudyQuizSession)}
    assert ends == {11: 10, 12: 9}


def test_the_result_lists_topics_attempts_and_questions(engine: Engine) -> None:
    found = ingest(
        engine, upload(answer("q120", NINE), answer("second110", NINE, WRONG), answer("q110", TEN))
    )
    session_ids = [row["id"] for row in rows(engine, StudyQuizSession)]
    counts = {"unsure_count": 0, "recovered_count": 0, "relapsed_count": 0, "chronic_remaining_count": 0}
    right = {"correct_count": 1, "wrong_count": 0, "newly_correct_count": 1} | counts
    wrong = {"correct_count": 0, "wrong_count": 1, "newly_correct_count": 0} | counts
    assert found.result == {
        "topics": [
            {"session_id": session_ids[0], "study_topic_id": 12} | right,
            {"session_id": session_ids[1], "study_topic_id": 11} | wrong,
        ],
        "attempts": [
            {"pub_id": "q120", "status": "counted"},
            {"pub_id": "second110", "status": "counted"},
            {"pub_id": "q110", "status": "practice"},
        ],
        "questions": [
            {"pub_id": "q110", "due": "2026-11-21"},
            {"pub_id": "q120", "due": "2026-11-22"},
            {"pub_id": "second110", "due": "2026-11-21"},
        ],
    }


def test_I3_an_earlier_sessions_counts_stay_as_they_were_when_it_was_finalized(engine: Engine) -> None:
    ingest(engine, upload(answer("q110", NEXT_DAY)))
    ingest(engine, upload(answer("q110", NINE)))
    ingest(engine, upload(answer("q110", TEN, WRONG)))
    counts = [(row["newly_correct_count"], row["relapsed_count"]) for row in rows(engine, StudyQuizSession)]
    assert counts == [(1, 0), (1, 0), (0, 1)]


UPDATED = text("""
    SELECT pg_stat_get_tuples_updated(oid), pg_stat_get_tuples_hot_updated(oid)
    FROM pg_class WHERE relname = 'study_question_progress'
""")


def test_progress_that_changes_writes_to_no_index(engine: Engine) -> None:
    """Else each of the 20 questions of an upload would have a new entry in every index."""
    for at, selected in ((NINE, RIGHT), (TEN, WRONG), (NEXT_DAY, RIGHT)):
        ingest(engine, upload(answer("q110", at, selected)))

    def updated() -> Row[tuple[int, int]]:
        with engine.connect() as connection:
            return connection.execute(UPDATED).one()

    until(lambda: updated()[0] == 2, "the connections are closed, and have told what they did")
    assert updated() == (2, 2)
