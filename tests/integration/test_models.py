"""What the tables themselves see to."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from shared.models import StudyQuizSession, StudyTopic, Upload, UploadConflict, User

LEARNER, SOMEBODY_ELSE = 1, 2
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
INGESTED = {"status": "ingested", "finalized_at": LONG_AGO}
REJECTED = {"status": "rejected", "finalized_at": LONG_AGO, "reason": "mixed_owners"}


@pytest.fixture(autouse=True)
def learners(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(User).values([{"id": LEARNER}, {"id": SOMEBODY_ELSE}]))
        connection.execute(insert(StudyTopic).values(id=10, user_id=LEARNER, name="anatomy"))


def add_upload(engine: Engine, **values: Any) -> UUID:
    uuid = uuid4()
    row = {
        "payload": {"a": 1},
        "result": {"b": 2},
        "received_at": LONG_AGO,
        "next_try_at": LONG_AGO,
        **values,
    }
    conflict = {"content_hash": "1:cd", "payload": {"c": 3}, "received_at": LONG_AGO}
    with engine.begin() as connection:
        connection.execute(insert(Upload).values(client_session_uuid=uuid, content_hash="1:ab", **row))
        connection.execute(insert(UploadConflict).values(client_session_uuid=uuid, **conflict))
    return uuid


def upload(engine: Engine, uuid: UUID) -> Row[Any]:
    columns = (
        Upload.payload,
        Upload.result,
        Upload.status,
        Upload.reason,
        UploadConflict.payload.label("other"),
    )
    matching = Upload.client_session_uuid == UploadConflict.client_session_uuid
    with engine.connect() as connection:
        return connection.execute(
            select(*columns).join(UploadConflict, matching).where(Upload.client_session_uuid == uuid)
        ).one()


def delete_learner(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(delete(User).where(User.id == LEARNER))


@pytest.mark.parametrize(
    ("values", "status", "reason"),
    [
        (INGESTED, "ingested", None),
        (REJECTED, "rejected", "mixed_owners"),
        ({"status": "received"}, "rejected", "learner_deleted"),  # an operator put it back
    ],
)
def test_I11_a_deleted_learner_leaves_no_payload(
    engine: Engine, values: dict[str, Any], status: str, reason: str | None
) -> None:
    uuid = add_upload(engine, user_id=LEARNER, **values)
    delete_learner(engine)
    assert tuple(upload(engine, uuid)) == (None, None, status, reason, None)


@pytest.mark.parametrize("owner", [SOMEBODY_ELSE, None])
def test_a_deleted_learner_takes_nothing_of_others_along(engine: Engine, owner: int | None) -> None:
    uuid = add_upload(engine, user_id=owner, **INGESTED)
    delete_learner(engine)
    assert tuple(upload(engine, uuid)) == ({"a": 1}, {"b": 2}, "ingested", None, {"c": 3})


def test_I1_a_received_upload_has_its_payload(engine: Engine) -> None:
    with pytest.raises(IntegrityError, match="ck_uploads_payload"):
        add_upload(engine, payload=None)


def test_updated_at_is_right_after_a_bulk_statement(engine: Engine) -> None:
    session = {"user_id": LEARNER, "study_topic_id": 10, "question_ids": [], "updated_at": LONG_AGO}
    with engine.begin() as connection:
        connection.execute(insert(StudyQuizSession).values(session))
        assert connection.scalar(select(StudyQuizSession.updated_at)) == LONG_AGO
        connection.execute(update(StudyQuizSession).values(cursor=StudyQuizSession.cursor + 1))
        assert connection.scalar(select(StudyQuizSession.updated_at == func.now())) is True
