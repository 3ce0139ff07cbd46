"""What the tables themselves see to."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from shared.models import StudyQuizSession, StudyTopic, Upload, User

LEARNER = 1
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_I1_a_received_upload_has_its_payload(engine: Engine) -> None:
    row = {"client_session_uuid": uuid4(), "content_hash": "1:ab", "payload": None}
    times = {"received_at": LONG_AGO, "next_try_at": LONG_AGO}
    with pytest.raises(IntegrityError, match="ck_uploads_payload"), engine.begin() as connection:
        connection.execute(insert(Upload).values(row | times))


def test_updated_at_is_right_after_a_bulk_statement(engine: Engine) -> None:
    session = {"user_id": LEARNER, "study_topic_id": 10, "question_ids": [], "updated_at": LONG_AGO}
    with engine.begin() as connection:
        connection.execute(insert(User).values(id=LEARNER))
        connection.execute(insert(StudyTopic).values(id=10, user_id=LEARNER, name="anatomy"))
        connection.execute(insert(StudyQuizSession).values(session))
        assert connection.scalar(select(StudyQuizSession.updated_at)) == LONG_AGO
        connection.execute(update(StudyQuizSession).values(cursor=StudyQuizSession.cursor + 1))
        assert connection.scalar(select(StudyQuizSession.updated_at == func.now())) is True
