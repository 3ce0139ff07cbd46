"""The body of an upload: its fields, its strict JSON, and the comparison of two contents."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import takewhile
from math import isfinite
from typing import Annotated, Any, Never, TypedDict
from unicodedata import normalize
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema, to_json

from shared.errors import StudyIngestError

# Enough to fix a client; a response about 500 wrong attempts would have thousands of lines.
MAX_FAULTS = 20


class Fault(TypedDict):
    """A mistake in a body: its JSON pointer (RFC 6901), and a description."""

    pointer: str
    detail: str


class InvalidPayloadError(StudyIngestError):
    """The body is JSON but not a valid upload, or it is larger or nested deeper than is allowed.

    `upload`: its uuid; None if the uuid is missing or invalid, or if the body exceeds a limit.
    """

    upload: UUID | None = None

    def __init__(self, errors: list[Fault], sent: Any) -> None:
        super().__init__("The payload is not a valid upload.")
        self.errors = errors[:MAX_FAULTS]
        with suppress(PydanticCustomError, TypeError, KeyError):
            self.upload = _uuid(sent["client_session_uuid"])


class NotJsonError(StudyIngestError):
    """The body is not strict JSON, or exceeds a limit; the text says why, and quotes nothing of the body."""


class LimitError(NotJsonError):
    """The body exceeds a limit: the number of values, the depth, or the digits and exponents of numbers."""


# RFC 3339, section 5.6, without the leap second and without the year 0: Python's datetime has neither.
MOMENT_PATTERN = (
    r"^([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
    r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
# Not the nil uuid, nor the one whose bits are all ones: clients send these if they have made no uuid.
UUID_PATTERN = r"^(?![0-]+$)(?![fF-]+$)[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
PLACEHOLDERS = (str(UUID(int=0)), str(UUID(int=2**128 - 1)))
MAX_ATTEMPTS = 500
# Characters; the same for uploads and catalogs, so that an answer can name every edition of a catalog.
MAX_PUB_ID = 200
MAX_SUBJECT = 120

# Times are read by pydantic's core: for an upload with 20 times, a Python function took longer than all other
# checks together.
# Digits beyond the microsecond are cut.
_MOMENT = core_schema.chain_schema(
    [
        core_schema.custom_error_schema(
            core_schema.str_schema(pattern=MOMENT_PATTERN, strict=True),
            "moment",
            custom_error_message="Input should be an RFC 3339 time with an offset",
        ),
        core_schema.custom_error_schema(
            core_schema.datetime_schema(
                ge=datetime.min.replace(tzinfo=UTC),
                le=datetime.max.replace(tzinfo=UTC),
                microseconds_precision="truncate",
                strict=False,
            ),
            "moment",
            custom_error_message="Input should be a date that exists, from the year 1 to 9999 in UTC",
        ),
    ]
)
_uuid_form = re.compile(UUID_PATTERN)


def _uuid(value: Any) -> UUID:
    if isinstance(value, str) and value.lower() in PLACEHOLDERS:
        raise PydanticCustomError("uuid", "Input should be a UUID made for this session, not nil or all ones")
    if not isinstance(value, str) or not _uuid_form.fullmatch(value):
        raise PydanticCustomError("uuid", "Input should be a UUID of 36 characters")
    return UUID(value)


# Stripped from both ends of a public id, by `normal_id` and by the statements that read payloads.
SPACES = " \t\n\r\f\v\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}\N{ZERO WIDTH NO-BREAK SPACE}"


def normal_id(pub_id: str) -> str:
    """Return a public id as it is stored and compared: in NFC, without surrounding spaces."""
    return normalize("NFC", pub_id).strip(SPACES)


def as_integer(value: Any) -> Any:
    """Return a whole number such as 1.0 as an integer, as in JSON Schema; return anything else unchanged."""
    # A body is read with Decimal; a stored payload and a catalog with float, which may be infinite.
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


Moment = Annotated[
    datetime,
    GetPydanticSchema(lambda *_: _MOMENT),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": MOMENT_PATTERN}),
]
Integer = Annotated[int, BeforeValidator(as_integer)]
# The limits come first: after the validator, they would be missing in the JSON schema.
Choice = Annotated[int, Field(ge=0, le=32767), BeforeValidator(as_integer)]
# No NUL, which Postgres cannot store, and at least one character that is not a space.
PUB_ID_PATTERN = r"^[^\x00]*[^\s\ufeff\x00][^\x00]*$"
# Normalised first, as in a catalog: 100 syllables of Hangul are 300 characters where they are decomposed.
PubId = Annotated[
    str,
    Field(min_length=1, max_length=MAX_PUB_ID, pattern=PUB_ID_PATTERN),
    BeforeValidator(lambda value: normal_id(value) if isinstance(value, str) else value),
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

    pub_id: PubId = Field(description="public id of the question")
    selected: Choice | None = Field(description="0-based index of the choice; null: none was made")
    unsure: bool = Field(description="the learner marked the answer as unsure")
    answered_at: Moment = Field(
        description="with the local offset, from which the study date follows; "
        "if the offset is zero, the study date follows from the learner's time zone"
    )


EXAMPLE_UPLOAD: dict[str, Any] = {
    "client_session_uuid": "6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11",
    "started_at": "2026-11-22T09:00:00+09:00",
    "finished_at": "2026-11-22T09:12:30+09:00",
    "sent_at": "2026-11-22T09:12:31+09:00",
    "attempts": [
        {"pub_id": "q-7f3a", "selected": 2, "unsure": False, "answered_at": "2026-11-22T09:00:41+09:00"},
        {"pub_id": "q-19c0", "selected": None, "unsure": True, "answered_at": "2026-11-22T09:01:55+09:00"},
        {"pub_id": "q-gone", "selected": 0, "unsure": False, "answered_at": "2026-11-22T09:02:20+09:00"},
    ],
}


class Upload(_Form):
    """One finished quiz session of a viewer: at most 1 MiB and 20,000 values in all."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE_UPLOAD})

    client_session_uuid: SessionUuid
    started_at: Moment | None = None
    finished_at: Moment | None = None
    sent_at: Moment | None = Field(None, description="shows how far the viewer's clock is ahead")
    attempts: list[Attempt] = Field(
        min_length=1, max_length=MAX_ATTEMPTS, description="in the order of answering"
    )


Location = tuple[str | int, ...]

# Postgres holds no NUL in a text, and half a surrogate pair is no character.
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_FIELDS = {*Upload.model_fields, *Attempt.model_fields}


def parse_upload(body: bytes) -> Upload:
    """Read the body of an upload; a body that passes fits a `jsonb` column, unknown fields included.

    Raise NotJsonError for a body that is not JSON, and InvalidPayloadError for a body that is not a valid
    upload or exceeds a limit.
    """
    try:
        value = decode(body)
    except LimitError as error:
        raise InvalidPayloadError([_fault((), str(error))], None) from None
    # In JSON that is valid UTF-8, only an escape can write a NUL or a surrogate.
    if rb"\u" in body:
        detail = "Text should hold neither NUL nor a lone surrogate"
        faults = [_fault(at, detail) for at, text in _strings(value, ()) if UNSTORABLE.search(text)]
        if faults:
            raise InvalidPayloadError(faults, value)
    try:
        return Upload.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidPayloadError([_fault(e["loc"], e["msg"]) for e in found], value) from None


def _strings(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, str):
        yield location, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, (*location, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield location, key
            yield from _strings(item, (*location, key))


def _fault(location: Location, detail: str) -> Fault:
    # The pointer ends before the first unknown name: a client's own names are private content.
    known = takewhile(lambda step: isinstance(step, int) or step in _FIELDS, location)
    return {"pointer": "".join(f"/{step}" for step in known), "detail": detail}


# An upload has three levels; the others are for unknown fields. The JSON readers of Python and Postgres give
# up at about a thousand levels.
MAX_DEPTH = 64

# This covers every double in its shortest form without an exponent (309 digits before the point). With an
# exponent of three digits at most, a number stays far below the limits of `numeric`: 131,072 digits before
# the point and 16,383 after it.
MAX_NUMBER_LENGTH = 400
MAX_EXPONENT = 999
# An integer of at most this many characters is always within the range of a double.
ALWAYS_FINITE = 300
# Postgres writes numbers out without exponents: 19,000 times `1e-999` would become 19 MB.
MAX_EXPONENTS = 100_000

# An upload of 500 attempts with their four fields holds 2,500 values. A megabyte of the shortest ones,
# half a million, would keep all other requests of the process waiting for a second.
MAX_VALUES = 20_000

# Possessive, and matches an unterminated string: so its time is linear in the body's length.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STRING_OR_BRACKET = re.compile(rf"{_STRING.pattern}|[\[\]{{}}]", re.DOTALL)


def decode(body: bytes) -> Any:
    """Decode a body; raise NotJsonError if it is not JSON in UTF-8, and LimitError if it exceeds a limit.

    The body must have no object with a repeated key, and no NaN or Infinity.
    """
    try:
        text = body.decode("utf-8")
        # The second count leaves out what is within strings; it is slower, and rarely needed.
        if _values(text) > MAX_VALUES and _values(_STRING.sub("", text)) > MAX_VALUES:
            raise LimitError(f"The body holds more than {MAX_VALUES:,} values.")
        _limit_depth(text)
        numbers = _Numbers()
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=numbers.read,
            parse_int=numbers.read_int,
            parse_constant=_constant,
        )
    except UnicodeDecodeError:
        raise NotJsonError("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise NotJsonError(f"The body is not JSON ({place}): {error.msg}.") from None


def _values(text: str) -> int:
    # Each value is the first in its brackets, or follows a comma.
    return sum(map(text.count, ",[{"))


def _limit_depth(text: str) -> None:
    # Most uploads have fewer brackets than the allowed levels.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        first = text[token.start()]
        depth += (first in "[{") - (first in "]}")
        if depth > MAX_DEPTH:
            raise LimitError(f"The body nests deeper than {MAX_DEPTH} levels.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise NotJsonError("An object of the body holds the same key twice.")
    return members


class _Numbers:
    """The numbers of one body: each is limited in size, and the sum of their exponents is limited."""

    def __init__(self) -> None:
        self._exponents = 0

    def read(self, literal: str) -> Decimal:
        """Read a number exactly; raise LimitError if it exceeds a limit."""
        exponent = int(literal.lower().partition("e")[2][:MAX_NUMBER_LENGTH] or 0)
        is_long = len(literal) > MAX_NUMBER_LENGTH or abs(exponent) > MAX_EXPONENT
        if is_long or not isfinite(float(literal)):
            raise LimitError("A number in the body is too large, too small, or written with too many digits.")
        self._exponents += abs(exponent)
        if self._exponents > MAX_EXPONENTS:
            raise LimitError(f"The exponents of the body's numbers add up to more than {MAX_EXPONENTS:,}.")
        return Decimal(literal)

    def read_int(self, literal: str) -> int:
        """Read a number that has neither a point nor an exponent."""
        return int(literal if len(literal) <= ALWAYS_FINITE else self.read(literal))


def _constant(_name: str) -> Never:
    raise NotJsonError("NaN and Infinity are not JSON.")


def content_hash(upload: Upload) -> str:
    """Return the hash by which conflicts are detected: a version of its form, and a SHA-256 of the content.

    `sent_at` is left out, since each retry changes it. Equal times with different offsets count as equal. The
    same content must have the same hash in the previous and in the next release: during an upgrade, processes
    of two releases run side by side.
    """
    sent = [upload.started_at, upload.finished_at, *(each.answered_at for each in upload.attempts)]
    utc = [moment and moment.astimezone(UTC) for moment in sent]
    # As `isoformat` writes them; pydantic's core writes many in half of the time.
    started_at, finished_at, *answered_at = json.loads(to_json(utc).replace(b'Z"', b'+00:00"'))
    attempts = [
        [each.pub_id, each.selected, each.unsure, at]
        for each, at in zip(upload.attempts, answered_at, strict=True)
    ]
    content = [str(upload.client_session_uuid), started_at, finished_at, attempts]
    return "1:" + hashlib.sha256(json.dumps(content).encode()).hexdigest()


def content_lines(upload: Upload) -> list[str]:
    """Return an upload's content as lines, to compare it: the session's times, if sent, and each attempt."""
    times = {"started_at": upload.started_at, "finished_at": upload.finished_at}
    attempts = [
        f"{a.pub_id}: selected {'nothing' if a.selected is None else a.selected}"
        f"{', unsure' if a.unsure else ''}, answered_at {a.answered_at.astimezone(UTC).isoformat()}"
        for a in upload.attempts
    ]
    return [*(f"{name} {at.astimezone(UTC).isoformat()}" for name, at in times.items() if at), *attempts]
