"""The way in to the live side: who may come in, and how the database is asked."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from flask import Blueprint, request
from flask.blueprints import BlueprintSetupState
from sqlalchemy import Connection
from werkzeug.routing import IntegerConverter

from api.auth import require_token
from api.edge import edge
from api.problem_kinds import Kind
from api.problems import Problem
from shared import errors
from shared.errors import OvertakenError, StudyIngestError, SupersededError, UnknownSessionError
from shared.live.forms import BIGINT

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
    if not edge().settings.study_tokens:
        raise Problem(Kind.LIVE_CLOSED)
    require_token(edge().settings.study_tokens)
    if any(number >= BIGINT for number in (request.view_args or {}).values()):
        raise Problem(Kind.NOT_FOUND)


def ask(question: Callable[[Connection], T]) -> T:
    """Ask the database something."""
    with _refusals():
        return edge().recorder.read(question)


def change(work: Callable[[Connection], T]) -> T:
    """Change something in a transaction; it commits if nothing is raised."""
    with _refusals():
        return edge().recorder.write(work)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except tuple(_REFUSALS) as error:
        members = {}
        if (pointer := _POINTERS.get(type(error))) is not None:
            members["errors"] = [{"pointer": pointer, "detail": str(error)}]
        raise Problem(_REFUSALS[type(error)], **members) from None
