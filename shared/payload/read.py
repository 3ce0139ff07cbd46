"""From the bytes of a body to an upload, or to what is wrong with it."""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from pydantic import ValidationError

from shared.payload.fault import Fault, InvalidPayloadError
from shared.payload.strict_json import decode
from shared.payload.upload import Attempt, Upload

Location = tuple[str | int, ...]

# Postgres holds no NUL in a text, and half a surrogate pair is no character.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_FIELDS = {*Upload.model_fields, *Attempt.model_fields}


def parse_upload(body: bytes) -> Upload:
    """Read the body of an upload; what passes also fits a `jsonb` column, unknown fields included.

    Raise NotJsonError for what is no JSON, InvalidPayloadError for JSON that is no upload.
    """
    value = decode(body)
    # In UTF-8 that holds JSON, only an escape can write unstorable text.
    if rb"\u" in body and (faults := [*_unstorable(value)]):
        raise InvalidPayloadError(faults)
    try:
        return Upload.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidPayloadError([_fault(e["loc"], e["msg"]) for e in found]) from None


def _unstorable(value: Any) -> Iterator[Fault]:
    for location, text in _strings(value, ()):
        if _UNSTORABLE.search(text):
            yield _fault(location, "Text should hold neither NUL nor a lone surrogate")


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
    # Ends before the first name that is not ours: a client's own keys are its content (I11).
    known = takewhile(lambda step: isinstance(step, int) or step in _FIELDS, location)
    return {"pointer": "".join(f"/{step}" for step in known), "detail": detail}
