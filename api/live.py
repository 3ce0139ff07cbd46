"""Routes of the live side: sessions answered in the document server's front end, and a learner's lists."""

import base64
import json
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from operator import methodcaller
from random import SystemRandom
from typing import Annotated, Any, TypedDict, TypeVar

import structlog
from flask import Response, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticCustomError
from sqlalchemy import Connection
from werkzeug.routing import IntegerConverter

from api import live_schemas
from api.auth import require_token
from api.errors import Kind, Problem
from api.openapi import answers, describe_body
from api.schemas import read_body
from api.services import services
from shared.live import lists, sessions
from shared.live.forms import BIGINT, SessionStart, Submission

log = structlog.get_logger()

blueprint = APIBlueprint(
    "live",
    __name__,
    url_prefix="/study/users/<id:user_id>",
    abp_tags=[Tag(name="live")],
    abp_security=[{"study": []}],
)

# What every route may answer.
COMMON = (
    Kind.UNAUTHENTICATED,
    Kind.NOT_FOUND,
    Kind.UNKNOWN_LEARNER,
    Kind.LIVE_CLOSED,
    Kind.STORE_UNAVAILABLE,
)
OF_BODY = (Kind.NOT_JSON, Kind.BODY_TOO_LARGE, Kind.UNSUPPORTED_MEDIA_TYPE, Kind.INVALID_REQUEST)

MAX_PAGE = 100
# In characters. The longest cursor is a public id of 200 characters: JSON writes each of them as two escapes
# (\ud83d\ude00), and base 64 makes the text longer by a third.
MAX_CURSOR = 3300

Id = Annotated[int, Field(ge=0, le=BIGINT - 1)]
T = TypeVar("T")
P = TypeVar("P", bound=tuple[Any, ...])


class IdConverter(IntegerConverter):
    """Match at most as many digits as a bigint has: Python refuses to convert thousands of digits."""

    regex = "[0-9]{1,19}"


class LearnerPath(BaseModel):
    user_id: Id


class SessionPath(LearnerPath):
    session_id: Id


class TopicPath(LearnerPath):
    topic_id: Id


class _Clock(TypedDict):
    now: datetime
    default_zone: str


def _run_at_database_time(work: Callable[[Connection, _Clock], T]) -> T:
    """Run a function in a transaction, and pass it the database's time and the default time zone."""
    now, store, zone = services().now, services().live, services().settings.study_time_zone
    return store.run(lambda connection: work(connection, {"now": now(connection), "default_zone": zone}))


@blueprint.before_request
def admit() -> None:
    """Refuse a request without a token of STUDY_API_TOKEN, or with an id that is too large."""
    require_token(services().settings.study_tokens, Kind.LIVE_CLOSED)
    # Not in the converter: for a path that has other methods, too, werkzeug would then answer 405, not 404.
    if any(number >= BIGINT for number in (request.view_args or {}).values()):
        raise Problem(Kind.NOT_FOUND)


# Sessions


@blueprint.post(
    "/sessions",
    operation_id="startSession",
    openapi_extensions=describe_body(blueprint, SessionStart),
    responses=answers(
        {201: live_schemas.StartedSession, 200: live_schemas.StartedSession},
        *COMMON,
        *OF_BODY,
        Kind.UNKNOWN_TOPIC,
        Kind.NOTHING_TO_ASK,
    ),
)
def start_session(path: LearnerPath) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Start a session (201), or resume the one that is in progress in the topic (200)."""
    form = read_body(SessionStart)

    def start(connection: Connection, now: _Clock) -> tuple[dict[str, Any], bool]:
        session_id, new = sessions.start(connection, path.user_id, form, rng=SystemRandom(), **now)
        return sessions.read_session(connection, path.user_id, session_id), new

    session, new = _run_at_database_time(start)
    if new:
        log.info("quiz_session.started", session=session["session_id"])
    else:
        log.info("quiz_session.resumed", session=session["session_id"])
    location = url_for(".read_session", user_id=path.user_id, session_id=session["session_id"])
    return (
        live_schemas.StartedSession.model_validate(session).model_dump(mode="json"),
        201 if new else 200,
        {"Location": location},
    )


@blueprint.get(
    "/sessions/<id:session_id>",
    operation_id="readSession",
    responses=answers({200: live_schemas.QuizSession}, *COMMON, Kind.UNKNOWN_SESSION),
)
def read_session(path: SessionPath) -> dict[str, Any]:
    """Read a session, live or uploaded."""
    session = services().live.run(
        lambda connection: sessions.read_session(connection, path.user_id, path.session_id)
    )
    return live_schemas.QuizSession.model_validate(session).model_dump(mode="json")


@blueprint.post(
    "/sessions/<id:session_id>/attempts",
    operation_id="answerQuestion",
    openapi_extensions=describe_body(blueprint, Submission),
    responses=answers(
        {200: live_schemas.RecordedAnswer},
        *COMMON,
        *OF_BODY,
        Kind.UNKNOWN_SESSION,
        Kind.SESSION_CLOSED,
        Kind.ALREADY_ANSWERED,
    ),
)
def answer_question(path: SessionPath) -> dict[str, Any]:
    """Answer a question; until the session is closed, the same answer again gets the same response."""
    answer = read_body(Submission)
    recorded = _run_at_database_time(
        lambda connection, now: sessions.submit(connection, path.user_id, path.session_id, answer, **now)
    )
    return live_schemas.RecordedAnswer.model_validate(recorded).model_dump(mode="json")


_CLOSING = answers({200: live_schemas.ClosedSession}, *COMMON, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED)


@blueprint.post("/sessions/<id:session_id>/finalize", operation_id="finalizeSession", responses=_CLOSING)
def finalize_session(path: SessionPath) -> dict[str, Any]:
    """Close a session as done; its answers count."""
    return _close(path, "done")


@blueprint.post("/sessions/<id:session_id>/abandon", operation_id="abandonSession", responses=_CLOSING)
def abandon_session(path: SessionPath) -> dict[str, Any]:
    """Close a session as abandoned; its answers count."""
    return _close(path, "abandoned")


def _close(path: SessionPath, status: str) -> dict[str, Any]:
    closed = _run_at_database_time(
        lambda connection, now: sessions.close(
            connection, path.user_id, path.session_id, status=status, **now
        )
    )
    log.info("quiz_session.closed", session=path.session_id, session_status=closed["status"])
    return live_schemas.ClosedSession.model_validate(closed).model_dump(mode="json")


@blueprint.delete(
    "/sessions/<id:session_id>",
    operation_id="voidSession",
    responses=answers({200: live_schemas.QuizSession}, *COMMON, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED),
)
def void_session(path: SessionPath) -> dict[str, Any]:
    """Void a session: it stays on record but no longer counts; a session in progress is abandoned first.

    The answer is 409 if the session is superseded.
    """
    voided = _run_at_database_time(
        lambda connection, now: sessions.void(connection, path.user_id, path.session_id, **now)
    )
    log.info("quiz_session.voided", session=path.session_id)
    return live_schemas.QuizSession.model_validate(voided).model_dump(mode="json")


@blueprint.post(
    "/sessions/<id:session_id>/unvoid",
    operation_id="unvoidSession",
    responses=answers({200: live_schemas.QuizSession}, *COMMON, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED),
)
def unvoid_session(path: SessionPath) -> dict[str, Any]:
    """Let a voided session count again; the answer is 409 if the session is superseded."""
    session = services().live.run(
        lambda connection: sessions.unvoid(connection, path.user_id, path.session_id)
    )
    log.info("quiz_session.unvoided", session=path.session_id)
    return live_schemas.QuizSession.model_validate(session).model_dump(mode="json")


# Lists


class PageQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_PAGE, description="largest number of items in a page")
    cursor: str = Field("", max_length=MAX_CURSOR, description="the `next_cursor` of the previous page")


def _day(value: Any) -> date:
    try:
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise PydanticCustomError("day", "Input should be a day, such as 2026-11-22")


class ReviewQuery(PageQuery):
    due_before: Annotated[
        date | None, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})
    ] = Field(
        None,
        description="a study date: only questions due before it; default: tomorrow",
        # The default is null, which a query string cannot express.
        json_schema_extra=methodcaller("pop", "default"),
    )


class NoteQuery(PageQuery):
    state: lists.NoteState = "open"


def _place(query: PageQuery, before_first: P) -> P:
    """Decode a cursor; without one, return the position before the first item."""
    if not query.cursor:
        return before_first
    try:
        text = base64.b64decode(query.cursor, altchars=b"-_", validate=True)
        return TypeAdapter(type(before_first)).validate_json(text, strict=True)
    except ValueError:
        fault = {"pointer": "/cursor", "detail": "Input should be the next_cursor of the previous page"}
        raise Problem(Kind.INVALID_REQUEST, errors=[fault]) from None


def _page(rows: Sequence[tuple[tuple[Any, ...], dict[str, Any]]], limit: int) -> dict[str, Any]:
    """Make a page of (cursor, item) rows; if there are more than `limit`, add the cursor of the next page."""
    shown = rows[:limit]
    cursor = None
    if len(rows) > limit:
        place = json.dumps(shown[-1][0], default=methodcaller("isoformat"))
        cursor = base64.urlsafe_b64encode(place.encode()).decode()
    return {"items": [item for _, item in shown], "next_cursor": cursor}


@blueprint.get(
    "/sessions",
    operation_id="listSessions",
    responses=answers({200: live_schemas.PastSessions}, *COMMON, Kind.INVALID_REQUEST),
)
def list_sessions(path: LearnerPath, query: PageQuery) -> dict[str, Any]:
    """List closed sessions with their counts, the newest id first."""
    after, limit = _place(query, lists.BEFORE_SESSIONS), query.limit + 1
    rows = services().live.run(
        lambda connection: lists.past_sessions(connection, path.user_id, after=after, limit=limit)
    )
    return live_schemas.PastSessions.model_validate(_page(rows, query.limit)).model_dump(mode="json")


@blueprint.get(
    "/reviews",
    operation_id="listDueReviews",
    responses=answers({200: live_schemas.DueReviews}, *COMMON, Kind.INVALID_REQUEST),
)
def list_due_reviews(path: LearnerPath, query: ReviewQuery) -> dict[str, Any]:
    """List the questions that are due before a study date, the longest overdue first."""
    after, limit = _place(query, lists.BEFORE_REVIEWS), query.limit + 1
    rows = _run_at_database_time(
        lambda connection, now: lists.due_reviews(
            connection, path.user_id, before=query.due_before, after=after, limit=limit, **now
        )
    )
    return live_schemas.DueReviews.model_validate(_page(rows, query.limit)).model_dump(mode="json")


@blueprint.get(
    "/progress",
    operation_id="listProgress",
    responses=answers(
        {
            200: live_schemas.ProgressPage,
            304: {"description": "the page still has the ETag of `If-None-Match`"},
        },
        *COMMON,
        Kind.INVALID_REQUEST,
    ),
)
def list_progress(path: LearnerPath, query: PageQuery) -> Response:
    """List a learner's progress, ordered by public id; 304 if the page has the ETag of `If-None-Match`."""
    after, limit = _place(query, lists.BEFORE_PROGRESS), query.limit + 1
    rows = services().live.run(
        lambda connection: lists.progress(connection, path.user_id, after=after, limit=limit)
    )
    page = live_schemas.ProgressPage.model_validate(_page(rows, query.limit)).model_dump(mode="json")
    response = jsonify(page)
    response.add_etag()
    response.make_conditional(request)
    return response


@blueprint.get(
    "/wrong-notes",
    operation_id="listWrongNotes",
    responses=answers({200: live_schemas.WrongNotes}, *COMMON, Kind.INVALID_REQUEST),
)
def list_wrong_notes(path: LearnerPath, query: NoteQuery) -> dict[str, Any]:
    """List open or closed wrong notes, the most recently opened first."""
    after, limit = _place(query, lists.BEFORE_NOTES), query.limit + 1
    rows = _run_at_database_time(
        lambda connection, now: lists.wrong_notes(
            connection, path.user_id, state=query.state, after=after, limit=limit, **now
        )
    )
    return live_schemas.WrongNotes.model_validate(_page(rows, query.limit)).model_dump(mode="json")


@blueprint.get(
    "/topics/<id:topic_id>/weak-areas",
    operation_id="listWeakAreas",
    responses=answers({200: live_schemas.WeakAreas}, *COMMON, Kind.UNKNOWN_TOPIC),
)
def list_weak_areas(path: TopicPath) -> dict[str, Any]:
    """List the learner's results by subject in a topic, the least accurate subject first."""
    areas = _run_at_database_time(
        lambda connection, now: lists.weak_areas(connection, path.user_id, path.topic_id, **now)
    )
    return live_schemas.WeakAreas.model_validate({"items": areas}).model_dump(mode="json")
