"""What a live session asks: the topic, as wished, and never the right choices."""

from typing import Any

from sqlalchemy import Engine

from shared.models import StudyQuestion, StudyQuizSession
from tests.clients import OTHER_TOPIC, STUDY_TOKEN, TOPIC, Clock, Front, refusal, started
from tests.factories import ANN, RIGHT, WRONG, load, question, rows


def pub_ids(session: Any) -> set[str]:
    return {each["pub_id"] for each in session["questions"]}


def test_a_session_starts_with_the_questions_of_its_topic(front: Front, engine: Engine, clock: Clock) -> None:
    response = front.start()

    assert response.status_code == 201
    session = response.json()
    assert pub_ids(session) == {"q110", "q111"}
    assert [each["ordinal"] for each in session["questions"]] == [0, 1]
    assert session["subject_distribution"] == {"subject 0": 1, "subject 1": 1}
    assert (session["status"], session["cursor"], session["snapshot"]) == ("in_progress", 0, None)
    assert front.web.get(response.headers["Location"], headers=STUDY_TOKEN).json() == session
    (row,) = rows(engine, StudyQuizSession)
    assert (row["user_id"], row["study_topic_id"], row["source"]) == (ANN, TOPIC, "live")
    assert sorted(row["question_ids"]) == [110, 111]
    assert (row["client_session_uuid"], row["finalized_at"], row["created_at"]) == (None, None, clock.now)


def test_a_second_start_takes_up_the_first_at_its_cursor(front: Front, engine: Engine) -> None:
    first = front.start().json()
    front.answer(first["session_id"], first["questions"][0]["pub_id"])

    again = front.start(quiz_mode="frequent_focus", target_per_subject=1)

    assert again.status_code == 200
    assert again.json() == front.read(first["session_id"])
    assert (again.json()["cursor"], again.json()["quiz_mode"]) == (1, "random")
    assert [each["pub_id"] for each in again.json()["questions"]] == [
        each["pub_id"] for each in first["questions"]
    ]
    assert len(rows(engine, StudyQuizSession)) == 1


def test_each_topic_has_its_own_session_and_a_closed_one_blocks_none(front: Front) -> None:
    first, other = started(front.start()), started(front.start(OTHER_TOPIC))
    assert first != other
    front.finalize(first)
    assert front.start().status_code == 201
    assert started(front.start(OTHER_TOPIC)) == other


def test_wrong_only_asks_what_has_an_open_note(front: Front, clock: Clock) -> None:
    assert refusal(front.start(wrong_only=True)) == (422, "nothing-to-ask")
    front.sit(("q110", WRONG), ("q111", RIGHT))
    assert pub_ids(front.start(wrong_only=True).json()) == {"q110"}
    for _ in range(2):
        front.abandon(started(front.start(wrong_only=True)))
        clock.advance(days=1)
        front.sit(("q110", RIGHT))
    assert refusal(front.start(wrong_only=True)) == (422, "nothing-to-ask")


def test_a_subject_filter_and_a_target_limit_what_is_asked(front: Front, engine: Engine) -> None:
    load(engine, {"questions": [question(number) for number in range(112, 119)]})
    session = front.start(subject_filter="subject 0", target_per_subject=3).json()
    assert session["subject_distribution"] == {"subject 0": 3}
    assert {each["subject"] for each in session["questions"]} == {"subject 0"}
    assert (session["subject_filter"], session["target_per_subject"]) == ("subject 0", 3)
    front.abandon(session["session_id"])
    assert len(front.start().json()["questions"]) == 9
    assert refusal(front.start(OTHER_TOPIC, subject_filter="Subject 0")) == (422, "nothing-to-ask")


def test_frequent_focus_asks_in_the_order_of_need(front: Front, engine: Engine, clock: Clock) -> None:
    load(engine, {"questions": [question(112, exam_frequency=0.2), question(113, exam_frequency=0.9)]})
    front.sit(("q110", RIGHT), ("q111", WRONG))
    clock.advance(days=1)
    session = front.start(quiz_mode="frequent_focus").json()
    assert [each["pub_id"] for each in session["questions"]] == ["q113", "q112", "q111", "q110"]


def test_what_is_withdrawn_or_not_published_is_not_asked(front: Front, engine: Engine) -> None:
    unpublished = question(118, published_at="2999-01-01T00:00:00Z")
    load(engine, {"questions": [question(110, retired_at="2026-01-01T00:00:00Z"), unpublished]})
    with engine.begin() as connection:
        columns = {"user_id": ANN, "study_topic_id": TOPIC, "subject": "s"}
        connection.execute(StudyQuestion.__table__.insert().values(id=119, **columns))  # type: ignore[attr-defined]
    assert pub_ids(front.start().json()) == {"q111"}


def test_a_snapshot_does_not_follow_the_catalog(front: Front, engine: Engine) -> None:
    before = front.start().json()
    load(engine, {"questions": [question(112), question(110, retired_at="2026-01-01T00:00:00Z")]})
    assert front.read(before["session_id"]) == before
    assert front.answer(before["session_id"], "q110").status_code == 200
