"""Places in the lists: what a list was read up to stays a place, whatever is inserted meanwhile."""

from datetime import UTC, date, datetime
from typing import Annotated, NamedTuple

from pydantic import AwareDatetime, Field

from shared.live.forms import BIGINT

_Id = Annotated[int, Field(ge=0, lt=BIGINT)]


class SessionPlace(NamedTuple):
    """A place among past sessions, newest first."""

    session_id: _Id


class ReviewPlace(NamedTuple):
    """A place among due reviews, longest due first."""

    due: date
    question_id: _Id


class NotePlace(NamedTuple):
    """A place among wrong notes, last opened first."""

    opened_at: AwareDatetime
    question_id: _Id


# Before the first of each list.
BEFORE_SESSIONS = SessionPlace(BIGINT - 1)
BEFORE_REVIEWS = ReviewPlace(date.min, 0)
BEFORE_NOTES = NotePlace(datetime.max.replace(tzinfo=UTC), BIGINT - 1)
