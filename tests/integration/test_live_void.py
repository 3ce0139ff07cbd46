"""A session that the front end deletes no longer counts, and stays on record."""

from sqlalchemy import Engine

from shared.models import StudyQuestionProgress
from tests.clients import STUDY_TOKEN, Clock, Front, refusal, started
from tests.factories import RIGHT, WRONG, reviews, rows, sound

WRITTEN = {"updated_at": None, "changed_xid": None}  # when, which a second writing changes


def void(front: Front, session: int) -> dict[str, object]:
    address = f"/study/users/{front.learner}/sessions/{session}"
    answer = front.web.delete(address, headers=STUDY_TOKEN)
    assert answer.status_code == 200
    return dict(answer.json())


def test_a_voided_session_no_longer_counts_until_it_is_brought_back(
    front: Front, engine: Engine, clock: Clock
) -> None:
    front.sit(("q110", RIGHT))
    before = rows(engine, StudyQuestionProgress)
    clock.advance(days=1)
    session = front.sit(("q110", WRONG))["session_id"]
    with_it = rows(engine, StudyQuestionProgress)

    voided = [void(front, session), void(front, session)]

    assert voided[0] == voided[1]
    assert voided[0]["voided_at"] is not None
    assert [row | WRITTEN for row in rows(engine, StudyQuestionProgress)] == [row | WRITTEN for row in before]
    back = front.post(f"sessions/{session}/unvoid").json()
    assert back["voided_at"] is None
    assert [row | WRITTEN for row in rows(engine, StudyQuestionProgress)] == [
        row | WRITTEN for row in with_it
    ]
    assert sound(engine)


def test_a_session_in_progress_is_abandoned_first_and_frees_its_topic(front: Front, engine: Engine) -> None:
    session = started(front.start())
    front.answer(session, "q110", WRONG)
    assert void(front, session)["status"] == "abandoned"
    assert reviews(engine) == {}
    assert front.start().status_code == 201
    front.post(f"sessions/{session}/unvoid")
    assert reviews(engine) == {110: 1}


def test_a_session_of_another_learner_is_unknown(front: Front) -> None:
    session = started(front.start())
    stranger = f"/study/users/2/sessions/{session}"
    assert refusal(front.web.delete(stranger, headers=STUDY_TOKEN)) == (404, "unknown-session")
    assert refusal(front.web.post(f"{stranger}/unvoid", headers=STUDY_TOKEN)) == (404, "unknown-session")
