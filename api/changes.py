"""The route that a document server reads to keep a copy of all progress."""

import threading
import time
from typing import Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from api import schemas
from api.auth import require_token
from api.errors import Kind, Problem
from api.openapi import answers
from api.services import services
from shared.changes import Changes, Cursor, read_changes

blueprint = APIBlueprint("changes", __name__, abp_tags=[Tag(name="results")], abp_security=[{"study": []}])

MAX_LEARNERS = 100
MAX_WAIT_S = 30
LOOK_EVERY_S = 0.5
# A reader that waits occupies one of the WEB_REQUESTS threads. So only this many readers wait; further
# readers are answered at once.
_waiting = threading.BoundedSemaphore(4)


class ChangesQuery(BaseModel):
    """Where to continue, how much to return, and how long to wait."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: str = Field(
        "", max_length=100, description="`next` of the previous answer; without it, everything is returned"
    )
    limit: int = Field(20, ge=1, le=MAX_LEARNERS, description="largest number of learners in an answer")
    wait: int = Field(0, ge=0, le=MAX_WAIT_S, description="longest wait for a change, in seconds; 0: none")


@blueprint.get(
    "/study/changes",
    operation_id="readChanges",
    responses=answers(
        {200: schemas.Changes},
        Kind.UNAUTHENTICATED,
        Kind.UNKNOWN_CURSOR,
        Kind.INVALID_REQUEST,
        Kind.LIVE_CLOSED,
        Kind.STORE_UNAVAILABLE,
    ),
)
def show_changes(query: ChangesQuery) -> dict[str, Any]:
    """Read the progress that has changed since `after`, or all progress without it; no change is missed."""
    require_token(services().settings.study_tokens, Kind.LIVE_CLOSED)
    try:
        cursor = Cursor.read(query.after)
    except ValueError:
        fault = {"pointer": "/after", "detail": "Input should be the `next` of the previous answer"}
        raise Problem(Kind.INVALID_REQUEST, errors=[fault]) from None
    found = _read(cursor, query.limit)
    if query.wait and _waiting.acquire(blocking=False):
        try:
            end = time.monotonic() + query.wait
            while not (found.learners or found.more) and time.monotonic() < end:
                if services().stopping.wait(LOOK_EVERY_S):
                    break
                found = _read(found.next, query.limit)
        finally:
            _waiting.release()
    return schemas.Changes(
        learners=[schemas.ChangedLearner.model_validate(each) for each in found.learners],
        next=str(found.next),
        more=found.more,
    ).model_dump(mode="json")


def _read(cursor: Cursor, limit: int) -> Changes:
    return services().live.run(lambda connection: read_changes(connection, cursor, limit=limit))
