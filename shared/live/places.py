"""Places in the lists: what a list was read up to stays a place, whatever is inserted meanwhile."""

from datetime import UTC, date, datetime
from typing import Annotated, NamedTuple

from pydantic import AwareDatetime, Field

from shared.live.forms import BIGINT

_Id = Annotated[int, Field(ge=0, lt=BIGINT)]


class SessionPlace(NamedTuple):
    """A place among past sessions, newest first; by itself, before the first."""

    session_id: _Id = BIGINT - 1


class ReviewPlace(NamedTuple):
    """A place among due reviews, longest due first; by itself, before the first."""

    due: date = date.min
    question_id: _Id = 0


class NotePlace(NamedTuple):
    """A place among wrong notes, last opened first; by itself, before the first."""

    opened_at: AwareDatetime = datetime.max.replace(tzinfo=UTC)
    question_id: _Id = BIGINT - 1
