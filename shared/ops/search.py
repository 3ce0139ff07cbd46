"""Find uploads for an operator, by indexes that uploads and replays need anyway."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from shared import models
from shared.payload import SPACES, normal_id
from shared.uploads import Status


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


class Position(NamedTuple):
    """The last upload of a page: the next page begins after it, even if more uploads arrive."""

    received_at: datetime
    client_session_uuid: UUID


@dataclass(frozen=True, slots=True)
class Search:
    """What an operator looks for; every condition that is set must hold.

    `question`: a public id, answered or sent; `error`: a part of the last error or the reason, in any case;
    `purged`: whether the payload is purged.
    """

    status: Status | None = None
    older_than: timedelta | None = None
    learner: int | None = None
    question: str | None = None
    error: str | None = None
    limit: int | None = 50
    after: Position | None = None
    purged: bool | None = None


_LISTED = (
    models.Upload.client_session_uuid,
    models.Upload.status,
    models.Upload.received_at,
    models.Upload.finalized_at,
    models.Upload.tries,
    models.Upload.next_try_at,
    models.Upload.user_id,
    sa.func.jsonb_array_length(models.Upload.payload["attempts"]).label("attempts"),
    models.Upload.reason,
    models.Upload.last_error,
)

# `received_at` has only an index of page ranges, which gives no order: to list the newest of millions, search
# the last hour, day and month first.
_LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=30))


def search(connection: sa.Connection, wanted: Search) -> list[Listed]:
    """Find uploads: waiting ones in the order of their wait, the longest first; others the newest first."""
    waiting = wanted.status is Status.RECEIVED
    order = models.Upload.received_at if waiting else models.Upload.received_at.desc()
    query = sa.select(*_LISTED).where(*_conditions(wanted)).order_by(order, models.Upload.client_session_uuid)
    query = query.limit(wanted.limit)

    by_index = wanted.status not in (None, Status.INGESTED) or any(
        each is not None for each in (wanted.learner, wanted.question, wanted.error)
    )
    if wanted.limit is not None and not by_index:
        newest = (
            sa.literal(wanted.after.received_at)
            if wanted.after
            else sa.func.now() - (wanted.older_than or timedelta())
        )
        for back in _LOOK_BACK:
            recent = connection.execute(query.where(models.Upload.received_at >= newest - back)).all()
            if len(recent) == wanted.limit:
                return [Listed(*row) for row in recent]
    return [Listed(*row) for row in connection.execute(query)]


def _conditions(wanted: Search) -> Iterator[sa.ColumnElement[bool]]:
    if wanted.status is not None:
        yield of_status(wanted.status)
    if wanted.older_than is not None:
        yield models.Upload.received_at < sa.func.now() - wanted.older_than
    if wanted.after is not None:
        # First the bound, for the index; then without those of the same time that were listed already.
        at, (last_at, last_uuid) = models.Upload.received_at, wanted.after
        bound = at >= last_at if wanted.status is Status.RECEIVED else at <= last_at
        yield sa.and_(bound, sa.or_(at != last_at, models.Upload.client_session_uuid > last_uuid))
    if wanted.learner is not None:
        yield of_learner(wanted.learner)
    if wanted.question is not None:
        yield models.Upload.client_session_uuid.in_(with_question(wanted.question))
    if wanted.error is not None:
        yield models.Upload.client_session_uuid.in_(failing_with(wanted.error))
    if wanted.purged is not None:
        yield models.Upload.payload.is_(None) if wanted.purged else models.Upload.payload.is_not(None)


def of_status(*statuses: Status) -> sa.ColumnElement[bool]:
    """Write statuses into the SQL: Postgres does not use a partial index for a parameter."""
    return sa.or_(
        *(models.Upload.status == sa.literal(status.value, literal_execute=True) for status in statuses)
    )


def of_learner(learner: int) -> sa.ColumnElement[bool]:
    """Match a learner's uploads: those that are not ingested, by the owner of their questions."""
    # One join for the questions of all uploads: one for each upload takes seconds with a large catalog.
    theirs = (
        sa.select(models.PublishedItem.pub_id)
        .join(models.StudyQuestion)
        .join(models.StudyTopic)
        .where(models.StudyTopic.user_id == learner)
    )
    sent = _sent()
    unfinished = sa.select(sent.c.client_session_uuid).where(sent.c.pub_id.in_(theirs))
    # An array, so that the planner expects few uuids and uses the primary key.
    array = sa.func.array(unfinished.scalar_subquery())
    return sa.or_(models.Upload.user_id == learner, models.Upload.client_session_uuid == sa.func.any(array))


def with_question(pub_id: str) -> sa.CompoundSelect[Any]:
    """Find uploads that answered a question, or were sent with it."""
    pub_id, sent = normal_id(pub_id), _sent()
    answered = (
        sa.select(sa.cast(models.StudyQuizSession.client_session_uuid, sa.Uuid))
        .join(models.StudyQuestionAttempt)
        .join(
            models.PublishedItem,
            models.PublishedItem.source_id == models.StudyQuestionAttempt.study_question_id,
        )
        .where(
            models.PublishedItem.pub_id == pub_id, models.StudyQuizSession.client_session_uuid.is_not(None)
        )
    )
    return sa.union(answered, sa.select(sent.c.client_session_uuid).where(sent.c.pub_id == pub_id))


def _sent() -> sa.Subquery:
    """Select the public id of each attempt of the uploads that are not ingested."""
    attempt = sa.func.jsonb_array_elements(models.Upload.payload["attempts"], type_=JSONB)
    pub_id = sa.func.normalize(sa.func.btrim(attempt["pub_id"].astext, SPACES))
    return _not_ingested(sa.true(), pub_id.label("pub_id")).subquery()


def failing_with(error: str) -> sa.CompoundSelect[Any]:
    """Find uploads by a part of the last error or the reason, in any case."""
    return _not_ingested(
        sa.or_(
            models.Upload.last_error.icontains(error, autoescape=True),
            models.Upload.reason.icontains(error, autoescape=True),
        )
    )


def _not_ingested(
    condition: sa.ColumnElement[bool], *columns: sa.ColumnElement[Any]
) -> sa.CompoundSelect[Any]:
    """Search the waiting and the failed uploads, each by their partial index."""
    query = sa.select(models.Upload.client_session_uuid, *columns).where(condition)
    return sa.union_all(
        query.where(of_status(Status.RECEIVED)), query.where(of_status(Status.REJECTED, Status.DEAD))
    )
