"""Find uploads, as an operator asks for them: each question is answered from an index that stands anyway."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    Uuid,
    and_,
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

from shared.models import (
    PublishedItem,
    StudyQuestion,
    StudyQuestionAttempt,
    StudyQuizSession,
    StudyTopic,
    Upload,
)
from shared.uploads import Status


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


# Arrivals have no index to read them in order by, only one by ranges: to list the newest of millions, look at
# a few days first.
_LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=30), None)

_LISTED = (
    Upload.client_session_uuid,
    Upload.status,
    Upload.received_at,
    Upload.finalized_at,
    Upload.tries,
    Upload.next_try_at,
    Upload.user_id,
    func.jsonb_array_length(Upload.payload["attempts"]).label("attempts"),
    Upload.reason,
    Upload.last_error,
)


class Listed(NamedTuple):
    """An upload in a list; `attempts`: how many, None once its payload is purged."""

    client_session_uuid: UUID
    status: str
    received_at: datetime
    finalized_at: datetime | None
    tries: int
    next_try_at: datetime
    user_id: int | None
    attempts: int | None
    reason: str | None
    last_error: str | None


class Place(NamedTuple):
    """A place in a list, up to which it was read: it stays one, whatever arrives meanwhile."""

    received_at: datetime
    client_session_uuid: UUID


@dataclass(frozen=True, slots=True)
class Search:
    """What an operator looks for; every word that is given must hold.

    `question`: a public id, answered or sent; `error`: a part of the last error or the reason, in any case;
    `purged`: whether the payload is gone.
    """

    status: Status | None = None
    older_than: timedelta | None = None
    learner: int | None = None
    question: str | None = None
    error: str | None = None
    limit: int | None = 50
    after: Place | None = None
    purged: bool | None = None

    @property
    def is_narrow(self) -> bool:
        """Tell whether an index leads to the few uploads that are meant."""
        by_status = self.status not in (None, Status.INGESTED)
        return by_status or any(each is not None for each in (self.learner, self.question, self.error))


def search(connection: Connection, wanted: Search) -> list[Listed]:
    """Find uploads: where they wait, the longest waiting first; else the newest first."""
    found: list[Listed] = []
    for back in (None,) if wanted.is_narrow or wanted.limit is None else _LOOK_BACK:
        found = [Listed(*row) for row in connection.execute(_query(wanted, back))]
        if len(found) == wanted.limit:
            break
    return found


def _query(wanted: Search, back: timedelta | None) -> Select[Any]:
    waiting = wanted.status is Status.RECEIVED
    by_age = Upload.received_at if waiting else Upload.received_at.desc()
    query = select(*_LISTED).where(*_conditions(wanted)).order_by(by_age, Upload.client_session_uuid)
    if back is not None:
        query = query.where(Upload.received_at >= _newest(wanted) - back)
    return query.limit(wanted.limit)


def _conditions(wanted: Search) -> Iterator[ColumnElement[bool]]:
    if wanted.status is not None:
        yield of_status(wanted.status)
    if wanted.older_than is not None:
        yield Upload.received_at < _before_now(wanted.older_than)
    if wanted.after is not None:
        yield _beyond(wanted.after, by_age=wanted.status is Status.RECEIVED)
    if wanted.learner is not None:
        yield of_learner(wanted.learner)
    if wanted.question is not None:
        yield Upload.client_session_uuid.in_(with_question(wanted.question))
    if wanted.error is not None:
        yield Upload.client_session_uuid.in_(failing_with(wanted.error))
    if wanted.purged is not None:
        yield Upload.payload.is_(None) if wanted.purged else Upload.payload.is_not(None)


def _newest(wanted: Search) -> ColumnElement[datetime]:
    """Say from when on a list goes back."""
    if wanted.after is not None:
        return literal(wanted.after.received_at)
    return _before_now(wanted.older_than or timedelta())


def _beyond(place: Place, *, by_age: bool) -> ColumnElement[bool]:
    # The bound first, which an index knows; then what of that one moment was listed already.
    at, uuid = Upload.received_at, Upload.client_session_uuid
    bound = at >= place.received_at if by_age else at <= place.received_at
    return and_(bound, or_(at != place.received_at, uuid > place.client_session_uuid))


def _before_now(span: timedelta) -> ColumnElement[datetime]:
    return func.now() - span
