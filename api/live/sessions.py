"""One session: start it or take it up again, answer its questions, close it, void it."""

from collections.abc import Callable
from random import SystemRandom
from typing import Any

import structlog
from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue

from api.edge import edge
from api.live import examples
from api.live.answers import ClosedSession, QuizSession, RecordedAnswer
from api.live.door import COMMON, ask, change
from api.live.reading import read_body
from api.operation import Body, Operation, described
from api.problem_kinds import Kind
from shared.live.forms import SessionStart, Submission
from shared.live.sessions import Circumstances, abandon, finalize, read_session, start, submit, unvoid, void

log = structlog.get_logger()
blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")

OF_BODY = (Kind.NOT_JSON, Kind.BODY_TOO_LARGE, Kind.UNSUPPORTED_MEDIA_TYPE, Kind.INVALID_REQUEST)
CLOSE = Operation(
    "Close a session",
    answers={200: Body("It is closed", ClosedSession, examples.CLOSED)},
    problems=(*COMMON, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED),
    security="study",
)


@blueprint.post("")
@described(
    Operation(
        "Start a session, or take up the one that is in progress in the topic",
        request=Body("What to ask", SessionStart, examples.START),
        answers={
            201: Body("Started", QuizSession, examples.SESSION, {"Location": "its address"}),
            200: Body("In progress already", QuizSession, examples.SESSION, {"Location": "its address"}),
        },
        problems=(*COMMON, *OF_BODY, Kind.UNKNOWN_TOPIC, Kind.NOTHING_TO_ASK),
        security="study",
    )
)
def begin(user_id: int) -> ResponseReturnValue:
    """Start or resume."""
    wish = read_body(SessionStart)
    given = Circumstances(edge().clock(), SystemRandom(), edge().settings.study_time_zone)
    session_id, new = change(lambda connection: start(connection, user_id, wish, given))
    log.info("session.started", session=session_id, new=new)
    session = ask(lambda connection: read_session(connection, user_id, session_id))
    where = url_for(".show", user_id=user_id, session_id=session_id)
    return session, 201 if new else 200, {"Location": where}


@blueprint.get("/<id:session_id>")
@described(
    Operation(
        "Read a session, live or uploaded",
        answers={200: Body("As it stands", QuizSession, examples.SESSION)},
        problems=(*COMMON, Kind.UNKNOWN_SESSION),
        security="study",
    )
)
def show(user_id: int, session_id: int) -> ResponseReturnValue:
    """Read a session."""
    return ask(lambda connection: read_session(connection, user_id, session_id))


@blueprint.post("/<id:session_id>/attempts")
@described(
    Operation(
        "Answer a question; the same answer again is answered alike",
        request=Body("The answer", Submission, examples.SUBMISSION),
        answers={200: Body("Recorded", RecordedAnswer, examples.RECORDED)},
        problems=(*COMMON, *OF_BODY, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED, Kind.ALREADY_ANSWERED),
        security="study",
    )
)
def answer(user_id: int, session_id: int) -> ResponseReturnValue:
    """Record an answer."""
    given = read_body(Submission)
    now = edge().clock()
    return change(lambda connection: submit(connection, user_id, session_id, given, now=now))


@blueprint.post("/<id:session_id>/finalize")
@described(CLOSE)
def finish(user_id: int, session_id: int) -> ResponseReturnValue:
    """Close a session as done."""
    return _close(finalize, user_id, session_id)


@blueprint.post("/<id:session_id>/abandon")
@described(CLOSE)
def leave(user_id: int, session_id: int) -> ResponseReturnValue:
    """Close a session as abandoned."""
    return _close(abandon, user_id, session_id)


@blueprint.delete("/<id:session_id>")
@described(
    Operation(
        "Void a session: it stays on record, but no longer counts; one in progress is abandoned first",
        answers={200: Body("It is void", QuizSession, examples.VOIDED)},
        problems=(*COMMON, Kind.UNKNOWN_SESSION),
        security="study",
    )
)
def discard(user_id: int, session_id: int) -> ResponseReturnValue:
    """Void a session."""
    now, zone = edge().clock(), edge().settings.study_time_zone
    voided = change(lambda connection: void(connection, user_id, session_id, now=now, default_zone=zone))
    log.info("session.voided", session=session_id)
    return voided


@blueprint.post("/<id:session_id>/unvoid")
@described(
    Operation(
        "Bring a voided session back; 409 where other content was accepted in its place",
        answers={200: Body("It counts again", QuizSession, examples.SESSION)},
        problems=(*COMMON, Kind.UNKNOWN_SESSION, Kind.SESSION_CLOSED),
        security="study",
    )
)
def bring_back(user_id: int, session_id: int) -> ResponseReturnValue:
    """Unvoid a session."""
    zone = edge().settings.study_time_zone
    return change(lambda connection: unvoid(connection, user_id, session_id, default_zone=zone))


def _close(end: Callable[..., dict[str, Any]], user_id: int, session_id: int) -> dict[str, Any]:
    now, zone = edge().clock(), edge().settings.study_time_zone
    closed = change(lambda connection: end(connection, user_id, session_id, now=now, default_zone=zone))
    log.info("session.closed", session=session_id, status=closed["status"])
    return closed
