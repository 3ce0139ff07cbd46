"""JSON without its soft spots: what two readers could understand differently is refused."""

import json
import re
from math import isfinite
from typing import Any, Never

from shared.errors import StudyIngestError

# An upload nests three deep. The rest is room for unknown fields, far below the thousand or so levels at
# which Python's and Postgres' readers give up, each at its own.
MAX_DEPTH = 64

# Covers every double written out in full (309 digits before the point). With an exponent of three digits at
# most, a number stays far inside `numeric`: 131,072 digits before the point and 16,383 after it.
MAX_NUMBER_LENGTH = 400
# Digits of an integer that no double is too small for: nothing to look into.
ALWAYS_FINITE = 300

# An upload of 500 attempts with their four fields holds 2,500 values. A megabyte of the shortest ones,
# half a million, would keep everybody else of the process waiting for a second.
MAX_VALUES = 20_000

_LONG_EXPONENT = re.compile(r"[eE][+-]?[0-9]{4}")
# Possessive, and content with a string that never ends: linear in the body's length, whatever it holds.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STRING_OR_BRACKET = re.compile(rf"{_STRING.pattern}|[\[\]{{}}]", re.DOTALL)


class NotJsonError(StudyIngestError):
    """The body is no JSON as we read it; the text says why and quotes nothing of it."""


def decode(body: bytes) -> Any:
    """Decode a body: UTF-8, no duplicate keys, no NaN or number beyond a double; neither deep nor endless."""
    try:
        text = body.decode("utf-8")
        _limit_values(text)
        _limit_depth(text)
        return _DECODER.decode(text)
    except UnicodeDecodeError:
        raise NotJsonError("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise NotJsonError(f"The body is not JSON ({place}): {error.msg}.") from None


def _limit_values(text: str) -> None:
    # Commas within strings count only where there is a doubt.
    if _values(text) > MAX_VALUES and _values(_STRING.sub("", text)) > MAX_VALUES:
        raise NotJsonError(f"The body holds more than {MAX_VALUES:,} values.")


def _values(text: str) -> int:
    # Each is the first in its brackets, or follows a comma.
    return sum(map(text.count, ",[{"))


def _limit_depth(text: str) -> None:
    # Most uploads have fewer brackets than levels allowed: nothing to look into.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        first = text[token.start()]
        depth += (first in "[{") - (first in "]}")
        if depth > MAX_DEPTH:
            raise NotJsonError(f"The body nests deeper than {MAX_DEPTH} levels.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise NotJsonError("An object of the body holds the same key twice.")
    return members


def _float(literal: str) -> float:
    if len(literal) > MAX_NUMBER_LENGTH or _LONG_EXPONENT.search(literal) or not isfinite(float(literal)):
        raise NotJsonError("A number of the body is beyond the range of a double.")
    return float(literal)


def _int(literal: str) -> int:
    if len(literal) > ALWAYS_FINITE:
        _float(literal)
    return int(literal)


def _constant(_name: str) -> Never:
    raise NotJsonError("NaN and Infinity are not JSON.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
)
