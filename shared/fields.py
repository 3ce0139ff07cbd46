"""The fields that uploads, live answers, catalogs and settings share: public ids, numbers, time zones."""

from decimal import Decimal
from typing import Annotated, Any
from unicodedata import normalize
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field

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


Integer = Annotated[int, BeforeValidator(as_integer)]
# The limits first: after the validator, the schema would lose them.
Choice = Annotated[int, Field(ge=0, le=32767), BeforeValidator(as_integer)]
# No NUL, which Postgres cannot store, and at least one character that is not a space.
_PUB_ID_PATTERN = r"^[^\x00]*[^\s\ufeff\x00][^\x00]*$"
# Normalised first, as in a catalog: 100 syllables of Hangul are 300 characters where they are decomposed.
PubId = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=_PUB_ID_PATTERN),
    BeforeValidator(lambda value: normal_id(value) if isinstance(value, str) else value),
]


def _iana_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone such as Asia/Seoul") from error
    return name


TimeZone = Annotated[str, AfterValidator(_iana_zone)]
