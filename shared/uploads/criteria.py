"""What an operator may ask of uploads, as conditions: each is answered from an index that stands anyway."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Uuid,
    cast,
    func,
    literal,
    or_,
    select,
    true,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.models.attempt import StudyQuestionAttempt
from shared.models.catalog import PublishedItem, StudyQuestion, StudyTopic
from shared.models.session import StudyQuizSession
from shared.models.upload import Upload
from shared.uploads.status import Status


def of_status(*statuses: Status) -> ColumnElement[bool]:
    """Name statuses literally: a partial index does not serve a parameter."""
    return or_(*(Upload.status == literal(status.value, literal_execute=True) for status in statuses))


def failing_with(error: str) -> CompoundSelect[Any]:
    """Find uploads by a part of the last error or the reason, in any case."""
    return _unfinished(
        or_(
            Upload.last_error.icontains(error, autoescape=True),
            Upload.reason.icontains(error, autoescape=True),
        )
    )


def of_learner(learner: int) -> ColumnElement[bool]:
    """Mean a learner's uploads."""
    # An array, so that the planner takes them for the few that they are and goes by the primary key.
    unfinished = func.array(_sent_by(learner).scalar_subquery())
    return or_(Upload.user_id == learner, Upload.client_session_uuid == func.any(unfinished))


def with_question(pub_id: str) -> CompoundSelect[Any]:
    """Find uploads that answered a question, or were sent with it."""
    answered = (
        select(cast(StudyQuizSession.client_session_uuid, Uuid))
        .join(StudyQuestionAttempt, StudyQuestionAttempt.study_quiz_session_id == StudyQuizSession.id)
        .join(PublishedItem, PublishedItem.source_id == StudyQuestionAttempt.study_question_id)
        .where(PublishedItem.pub_id == pub_id, StudyQuizSession.client_session_uuid.is_not(None))
    )
    return union(answered, _unfinished(Upload.payload.contains({"attempts": [{"pub_id": pub_id}]})))


def _sent_by(learner: int) -> Select[Any]:
    """Find a learner's unfinished uploads: their questions say whose they are."""
    # All questions of all uploads are joined at once: asked upload by upload, a large catalog takes seconds.
    theirs = (
        select(PublishedItem.pub_id).join(StudyQuestion).join(StudyTopic).where(StudyTopic.user_id == learner)
    )
    attempt = func.jsonb_array_elements(Upload.payload["attempts"], type_=JSONB)
    sent = _unfinished(true(), attempt["pub_id"].astext.label("pub_id")).subquery()
    return select(sent.c.client_session_uuid).where(sent.c.pub_id.in_(theirs))


def _unfinished(condition: ColumnElement[bool], *columns: ColumnElement[Any]) -> CompoundSelect[Any]:
    """Ask the uploads that wait and those that failed, each by their own partial index."""
    asked = select(Upload.client_session_uuid, *columns).where(condition)
    return union_all(
        asked.where(of_status(Status.RECEIVED)), asked.where(of_status(Status.REJECTED, Status.DEAD))
    )
