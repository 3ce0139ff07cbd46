"""What an operator may ask of uploads, as conditions: each is answered from an index that stands anyway."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    TextClause,
    Uuid,
    cast,
    literal,
    or_,
    select,
    text,
    union,
)

from shared.models import PublishedItem, StudyQuestionAttempt, StudyQuizSession, Upload
from shared.uploads.status import Status

# What waits has no learner yet: whose it is, its questions say.
_SENT_BY = """
    EXISTS (SELECT FROM jsonb_array_elements(uploads.payload -> 'attempts') AS sent
        JOIN published_items i ON i.pub_id = sent ->> 'pub_id'
        JOIN study_questions q ON q.id = i.source_id WHERE q.user_id = :learner)
"""


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


def of_learner(learner: int) -> CompoundSelect[Any]:
    """Find a learner's uploads."""
    known = select(Upload.client_session_uuid).where(Upload.user_id == learner)
    return union(known, _unfinished(text(_SENT_BY).bindparams(learner=learner)))


def with_question(pub_id: str) -> CompoundSelect[Any]:
    """Find uploads that answered a question, or were sent with it."""
    answered = (
        select(cast(StudyQuizSession.client_session_uuid, Uuid))
        .join(StudyQuestionAttempt, StudyQuestionAttempt.study_quiz_session_id == StudyQuizSession.id)
        .join(PublishedItem, PublishedItem.source_id == StudyQuestionAttempt.study_question_id)
        .where(PublishedItem.pub_id == pub_id, StudyQuizSession.client_session_uuid.is_not(None))
    )
    return union(answered, _unfinished(Upload.payload.contains({"attempts": [{"pub_id": pub_id}]})))


def _unfinished(condition: ColumnElement[bool] | TextClause) -> CompoundSelect[Any]:
    """Ask the uploads that wait and those that failed, each by their own partial index."""
    return union(
        select(Upload.client_session_uuid).where(of_status(Status.RECEIVED), condition),
        select(Upload.client_session_uuid).where(of_status(Status.REJECTED, Status.DEAD), condition),
    )
