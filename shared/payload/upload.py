"""The upload itself: the fields that we read, and when two uploads are the same."""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

# RFC 3339, section 5.6, without the leap second and the year 0, which Python's clock cannot show.
MOMENT_PATTERN = (
    r"^([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
    r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
MAX_ATTEMPTS = 500

_moment_form = re.compile(MOMENT_PATTERN)
_uuid_form = re.compile(UUID_PATTERN)


def _moment(value: Any) -> datetime:
    """Read an RFC 3339 time as UTC; digits beyond the microsecond are cut."""
    if not isinstance(value, str) or not _moment_form.fullmatch(value):
        raise PydanticCustomError("moment", "Input should be an RFC 3339 time with an offset")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("moment", "Input should be a time that exists in UTC") from None


def _uuid(value: Any) -> UUID:
    if not isinstance(value, str) or not _uuid_form.fullmatch(value):
        raise PydanticCustomError("uuid", "Input should be a UUID of 36 characters")
    return UUID(value)


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": MOMENT_PATTERN}),
]
SessionUuid = Annotated[
    UUID,
    BeforeValidator(_uuid),
    WithJsonSchema({"type": "string", "format": "uuid", "pattern": UUID_PATTERN}),
]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Attempt(_Form):
    """One answer to one question."""

    pub_id: str = Field(min_length=1, max_length=200, description="public id of the question")
    selected: Annotated[int, Field(ge=0, le=32767)] | None = Field(
        description="0-based index of the choice; null: none was made"
    )
    unsure: bool = Field(description="the learner said so")
    answered_at: Moment


class Upload(_Form):
    """One finished quiz session of a viewer."""

    client_session_uuid: SessionUuid
    started_at: Moment | None = None
    finished_at: Moment | None = None
    sent_at: Moment | None = Field(None, description="tells how far the viewer's clock is fast")
    attempts: list[Attempt] = Field(min_length=1, max_length=MAX_ATTEMPTS, description="as answered")


def content_hash(upload: Upload) -> str:
    """Tell uploads of different content apart (I8): a version, and the SHA-256 of the normalised content.

    `sent_at` is left out: a retry is no other upload.
    """
    content = [
        str(upload.client_session_uuid),
        _written(upload.started_at),
        _written(upload.finished_at),
        [[a.pub_id, a.selected, a.unsure, _written(a.answered_at)] for a in upload.attempts],
    ]
    return "1:" + hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
