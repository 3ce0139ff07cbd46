"""One session: start it or take it up again, answer its questions, close it, void it."""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import takewhile
from operator import methodcaller
from random import SystemRandom
from typing import Annotated, Any, TypeVar

import structlog
from flask import Blueprint, request, url_for
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from sqlalchemy import Connection
from werkzeug.routing import IntegerConverter

from api import schemas
from api.auth import require_token
from api.errors import Kind, Problem
from api.openapi import Body, Operation, described
from api.schemas import (
    ClosedSession,
    DueReviews,
    PastSessions,
    QuizSession,
    RecordedAnswer,
    WeakAreas,
    WrongNotes,
)
from api.services import services
from shared import errors
from shared.errors import OvertakenError, StudyIngestError, SupersededError, UnknownSessionError
from shared.live.forms import BIGINT, SessionStart, Submission
from shared.live.lists import (
    BEFORE_NOTES,
    BEFORE_REVIEWS,
    BEFORE_SESSIONS,
    NoteState,
    ReviewPlace,
    due_reviews,
    past_sessions,
    tomorrow,
    weak_areas,
    wrong_notes,
)
from shared.live.sessions import Circumstances, abandon, finalize, read_session, start, submit, unvoid, void
from shared.payload import MAX_FAULTS, Fault, decode

blueprint = Blueprint("live", __name__, url_prefix="/study/users/<id:user_id>")

T = TypeVar("T")

# What every route may answer.
COMMON = (
    Kind.UNAUTHENTICATED,
    Kind.NOT_FOUND,
    Kind.UNKNOWN_LEARNER,
    Kind.LIVE_CLOSED,
    Kind.STORE_UNAVAILABLE,
)

_REFUSALS: Mapping[type[StudyIngestError], Kind] = {
    errors.UnknownLearnerError: Kind.UNKNOWN_LEARNER,
    errors.UnknownTopicError: Kind.UNKNOWN_TOPIC,
    UnknownSessionError: Kind.UNKNOWN_SESSION,
    errors.SessionClosedError: Kind.SESSION_CLOSED,
    SupersededError: Kind.SESSION_CLOSED,
    errors.AlreadyAnsweredError: Kind.ALREADY_ANSWERED,
    errors.NothingToAskError: Kind.NOTHING_TO_ASK,
    errors.NotAskedError: Kind.INVALID_REQUEST,
    errors.NoSuchChoiceError: Kind.INVALID_REQUEST,
    OvertakenError: Kind.STORE_UNAVAILABLE,
}
# Where in the body the fault lies, as far as the schema alone cannot tell.
_POINTERS: Mapping[type[StudyIngestError], str] = {
    errors.NothingToAskError: "",
    errors.NotAskedError: "/pub_id",
    errors.NoSuchChoiceError: "/selected",
}


class _Id(IntegerConverter):
    """Take no more digits than a bigint has; Python refuses to read many thousand."""

    regex = "[0-9]{1,19}"


@blueprint.record_once
def _know_ids(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["id"] = _Id


@blueprint.before_request
def admit() -> None:
    """Refuse everybody where no token is configured, then whoever has none."""
    if not services().settings.study_tokens:
        raise Problem(Kind.LIVE_CLOSED)
    require_token(services().settings.study_tokens)
    if any(number >= BIGINT for number in (request.view_args or {}).values()):
        raise Problem(Kind.NOT_FOUND)


def ask(question: Callable[[Connection], T]) -> T:
    """Ask the database something."""
    with _refusals():
        return services().live.run(question)


def change(work: Callable[[Connection], T]) -> T:
    """Change something in a transaction; it commits if nothing is raised."""
    with _refusals():
        return services().live.run(work)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except tuple(_REFUSALS) as error:
        members = {}
        if (pointer := _POINTERS.get(type(error))) is not None:
            members["errors"] = [{"pointer": pointer, "detail": str(error)}]
        raise Problem(_REFUSALS[type(error)], **members) from None


MAX_PAGE = 100
# A time and an id in base 64 take a fraction of it.
MAX_CURSOR = 200
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")

P = TypeVar("P", bound=tuple[Any, ...])


class PageQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_PAGE, description="most items of a page")
    cursor: str = Field("", max_length=MAX_CURSOR, description="the `next_cursor` of the page before")


def _day(value: Any) -> date:
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise PydanticCustomError("day", "Input should be a day, such as 2026-11-22")


class ReviewQuery(PageQuery):
    """Which due reviews."""

    due_before: Annotated[
        date | None, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})
    ] = Field(None, description="a study day; without one, what is due today")


class NoteQuery(PageQuery):
    """Which wrong notes."""

    state: NoteState = "open"


def place(query: PageQuery, before_first: P) -> P:
    """Return the place that a cursor names, or the one before the first."""
    if not query.cursor:
        return before_first
    try:
        text = base64.b64decode(query.cursor, altchars=b"-_", validate=True)
        return TypeAdapter(type(before_first)).validate_json(text, strict=True)
    except ValueError:
        fault = {"pointer": "/cursor", "detail": "Input should be the next_cursor of the page before"}
        raise Problem(Kind.INVALID_REQUEST, errors=[fault]) from None


def page(rows: Sequence[tuple[tuple[Any, ...], dict[str, Any]]], limit: int) -> dict[str, Any]:
    """Make a page of rows with their places; of one row more than it takes, so that it knows of a next."""
    kept = rows[:limit]
    return {
        "items": [item for _, item in kept],
        "next_cursor": _cursor(kept[-1][0]) if len(rows) > limit else None,
    }


def _cursor(after: tuple[Any, ...]) -> str:
    text = json.dumps(after, default=methodcaller("isoformat"))
    return base64.urlsafe_b64encode(text.encode()).decode()


M = TypeVar("M", bound=BaseModel)


def read_body(model: type[M]) -> M:
    """Read a JSON body, as strictly as an upload is read."""
    if request.mimetype != "application/json" or request.content_encoding:
        raise Problem(Kind.UNSUPPORTED_MEDIA_TYPE)
    value = decode(request.get_data(cache=False))
    return _validated(model, lambda: model.model_validate(value))


def read_query(model: type[M]) -> M:
    """Read the query string."""
    return _validated(model, lambda: model.model_validate_strings(request.args.to_dict()))


def _validated(model: type[M], validate: Callable[[], M]) -> M:
    try:
        return validate()
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_FAULTS]
        raise Problem(Kind.INVALID_REQUEST, errors=[_fault(model, each) for each in found]) from None


def _fault(model: type[BaseModel], error: ErrorDetails) -> Fault:
    # Ends before the first name that is not ours: a client's own keys are not repeated (I11).
    known = takewhile(model.model_fields.__contains__, error["loc"])
    return {"pointer": "".join(f"/{step}" for step in known), "detail": error["msg"]}


list_routes = Blueprint("lists", __name__)


@list_routes.get("/sessions")
@described(
    Operation(
        "List past sessions with their snapshots",
        answers={200: Body("A page", PastSessions, schemas.PAST)},
        problems=(*COMMON, Kind.INVALID_REQUEST),
        security="study",
        query=PageQuery,
    )
)
def sessions(user_id: int) -> ResponseReturnValue:
    """List closed sessions."""
    query = read_query(PageQuery)
    after = place(query, BEFORE_SESSIONS)
    rows = ask(lambda connection: past_sessions(connection, user_id, after=after, limit=query.limit + 1))
    return page(rows, query.limit)


@list_routes.get("/reviews")
@described(
    Operation(
        "List due reviews",
        answers={200: Body("A page", DueReviews, schemas.DUE)},
        problems=(*COMMON, Kind.INVALID_REQUEST),
        security="study",
        query=ReviewQuery,
    )
)
def reviews(user_id: int) -> ResponseReturnValue:
    """List the questions due before a day."""
    query = read_query(ReviewQuery)
    after = place(query, BEFORE_REVIEWS)
    now, zone = services().clock(), services().settings.study_time_zone

    def due(connection: Connection) -> list[tuple[ReviewPlace, dict[str, Any]]]:
        before = query.due_before or tomorrow(connection, user_id, now=now, default_zone=zone)
        return due_reviews(connection, user_id, before=before, after=after, limit=query.limit + 1)

    return page(ask(due), query.limit)


@list_routes.get("/wrong-notes")
@described(
    Operation(
        "List wrong notes",
        answers={200: Body("A page", WrongNotes, schemas.NOTES)},
        problems=(*COMMON, Kind.INVALID_REQUEST),
        security="study",
        query=NoteQuery,
    )
)
def notes(user_id: int) -> ResponseReturnValue:
    """List the notes of one state."""
    query = read_query(NoteQuery)
    after = place(query, BEFORE_NOTES)
    limit = query.limit + 1
    rows = ask(
        lambda connection: wrong_notes(connection, user_id, state=query.state, after=after, limit=limit)
    )
    return page(rows, query.limit)


@list_routes.get("/topics/<id:topic_id>/weak-areas")
@described(
    Operation(
        "Tell the weak areas of a topic",
        answers={200: Body("Its subjects", WeakAreas, schemas.WEAK)},
        problems=(*COMMON, Kind.UNKNOWN_TOPIC),
        security="study",
    )
)
def areas(user_id: int, topic_id: int) -> ResponseReturnValue:
    """Compute the weak areas."""
    now, zone = services().clock(), services().settings.study_time_zone
    return {
        "items": ask(lambda connection: weak_areas(connection, user_id, topic_id, now=now, default_zone=zone))
    }


log = structlog.get_logger()
session_routes = Blueprint("sessions", __name__, url_prefix="/sessions")

OF_BODY = (Kind.NOT_JSON, Kind.BODY_TOO_LARGE, Kind.UNSUPPORTED_MEDIA_TYPE, Kind.INVALID_REQUEST)
CLOSE = Operation(
    "Close a session",
    answers={200: Body("It is closed", ClosedSession, schemas.CLOSED)},
    problems=(*COMMON, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED),
    security="study",
)


@session_routes.post("")
@described(
    Operation(
        "Start a session, or take up the one that is in progress in the topic",
        request=Body("What to ask", SessionStart, schemas.START),
        answers={
            201: Body("Started", QuizSession, schemas.SESSION, {"Location": "its address"}),
            200: Body("In progress already", QuizSession, schemas.SESSION, {"Location": "its address"}),
        },
        problems=(*COMMON, *OF_BODY, Kind.UNKNOWN_TOPIC, Kind.NOTHING_TO_ASK),
        security="study",
    )
)
def begin(user_id: int) -> ResponseReturnValue:
    """Start or resume."""
    wish = read_body(SessionStart)
    given = Circumstances(services().clock(), SystemRandom(), services().settings.study_time_zone)
    session_id, new = change(lambda connection: start(connection, user_id, wish, given))
    log.info("session.started", session=session_id, new=new)
    session = ask(lambda connection: read_session(connection, user_id, session_id))
    where = url_for(".show", user_id=user_id, session_id=session_id)
    return session, 201 if new else 200, {"Location": where}


@session_routes.get("/<id:session_id>")
@described(
    Operation(
        "Read a session, live or uploaded",
        answers={200: Body("As it stands", QuizSession, schemas.SESSION)},
        problems=(*COMMON, Kind.UNKNOWN_SESSION),
        security="study",
    )
)
def show(user_id: int, session_id: int) -> ResponseReturnValue:
    """Read a session."""
    return ask(lambda connection: read_session(connection, user_id, session_id))


@session_routes.post("/<id:session_id>/attempts")
@described(
    Operation(
        "Answer a question; the same answer again is answered alike",
        request=Body("The answer", Submission, schemas.SUBMISSION),
        answers={200: Body("Recorded", RecordedAnswer, schemas.RECORDED)},
        problems=(*COMMON, *OF_BODY, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED, Kind.ALREADY_ANSWERED),
        security="study",
    )
)
def answer(user_id: int, session_id: int) -> ResponseReturnValue:
    """Record an answer."""
    given = read_body(Submission)
    now = services().clock()
    return change(lambda connection: submit(connection, user_id, session_id, given, now=now))


@session_routes.post("/<id:session_id>/finalize")
@described(CLOSE)
def finish(user_id: int, session_id: int) -> ResponseReturnValue:
    """Close a session as done."""
    return _close(finalize, user_id, session_id)


@session_routes.post("/<id:session_id>/abandon")
@described(CLOSE)
def leave(user_id: int, session_id: int) -> ResponseReturnValue:
    """Close a session as abandoned."""
    return _close(abandon, user_id, session_id)


@session_routes.delete("/<id:session_id>")
@described(
    Operation(
        "Void a session: it stays on record, but no longer counts; one in progress is abandoned first",
        answers={200: Body("It is void", QuizSession, schemas.VOIDED)},
        problems=(*COMMON, Kind.UNKNOWN_SESSION),
        security="study",
    )
)
def discard(user_id: int, session_id: int) -> ResponseReturnValue:
    """Void a session."""
    now, zone = services().clock(), services().settings.study_time_zone
    voided = change(lambda connection: void(connection, user_id, session_id, now=now, default_zone=zone))
    log.info("session.voided", session=session_id)
    return voided


@session_routes.post("/<id:session_id>/unvoid")
@described(
    Operation(
        "Bring a voided session back; 409 where other content was accepted in its place",
        answers={200: Body("It counts again", QuizSession, schemas.SESSION)},
        problems=(*COMMON, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED),
        security="study",
    )
)
def bring_back(user_id: int, session_id: int) -> ResponseReturnValue:
    """Unvoid a session."""
    zone = services().settings.study_time_zone
    return change(lambda connection: unvoid(connection, user_id, session_id, default_zone=zone))


def _close(end: Callable[..., dict[str, Any]], user_id: int, session_id: int) -> dict[str, Any]:
    now, zone = services().clock(), services().settings.study_time_zone
    closed = change(lambda connection: end(connection, user_id, session_id, now=now, default_zone=zone))
    log.info("session.closed", session=session_id, status=closed["status"])
    return closed


blueprint.register_blueprint(session_routes)
blueprint.register_blueprint(list_routes)
