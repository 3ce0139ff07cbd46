"""What the front end lists: past sessions, due reviews, wrong notes, weak areas."""

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection

from api.edge import edge
from api.live import examples
from api.live.answers import DueReviews, PastSessions, WeakAreas, WrongNotes
from api.live.door import COMMON, ask
from api.live.pages import NoteQuery, PageQuery, ReviewQuery, page, place
from api.live.reading import read_query
from api.operation import Body, Operation, described
from api.problem_kinds import Kind
from shared.live.lists import (
    BEFORE_NOTES,
    BEFORE_REVIEWS,
    BEFORE_SESSIONS,
    ReviewPlace,
    due_reviews,
    past_sessions,
    tomorrow,
    weak_areas,
    wrong_notes,
)

blueprint = Blueprint("lists", __name__)


@blueprint.get("/sessions")
@described(
    Operation(
        "List past sessions with their snapshots",
        answers={200: Body("A page", PastSessions, examples.PAST)},
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


@blueprint.get("/reviews")
@described(
    Operation(
        "List due reviews",
        answers={200: Body("A page", DueReviews, examples.DUE)},
        problems=(*COMMON, Kind.INVALID_REQUEST),
        security="study",
        query=ReviewQuery,
    )
)
def reviews(user_id: int) -> ResponseReturnValue:
    """List the questions due before a day."""
    query = read_query(ReviewQuery)
    after = place(query, BEFORE_REVIEWS)
    now, zone = edge().clock(), edge().settings.study_time_zone

    def due(connection: Connection) -> list[tuple[ReviewPlace, dict[str, Any]]]:
        before = query.due_before or tomorrow(connection, user_id, now=now, default_zone=zone)
        return due_reviews(connection, user_id, before=before, after=after, limit=query.limit + 1)

    return page(ask(due), query.limit)


@blueprint.get("/wrong-notes")
@described(
    Operation(
        "List wrong notes",
        answers={200: Body("A page", WrongNotes, examples.NOTES)},
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


@blueprint.get("/topics/<id:topic_id>/weak-areas")
@described(
    Operation(
        "Tell the weak areas of a topic",
        answers={200: Body("Its subjects", WeakAreas, examples.WEAK)},
        problems=(*COMMON, Kind.UNKNOWN_TOPIC),
        security="study",
    )
)
def areas(user_id: int, topic_id: int) -> ResponseReturnValue:
    """Compute the weak areas."""
    now, zone = edge().clock(), edge().settings.study_time_zone
    return {
        "items": ask(lambda connection: weak_areas(connection, user_id, topic_id, now=now, default_zone=zone))
    }
