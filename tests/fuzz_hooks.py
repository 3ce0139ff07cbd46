"""What schemathesis makes of the schema, less what no schema can say."""

import re
from datetime import UTC, datetime
from typing import Any

import schemathesis

from shared.payload import MOMENT_PATTERN


def _exists(text: str) -> bool:
    try:
        datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True


def _can_be_said(value: Any) -> bool:
    match value:
        case dict():
            return all(map(_can_be_said, value.values()))
        case list():
            return all(map(_can_be_said, value))
        case float():
            # To JSON Schema 2.0 is an integer. We read strictly: a client that computes with floats is wrong.
            return not value.is_integer()
        case str() if re.fullmatch(MOMENT_PATTERN, value):
            # No pattern knows of leap years, nor which offset leaves the calendar.
            return _exists(value)
    return True


@schemathesis.hook
def filter_body(_context: Any, body: Any) -> bool:
    """Leave out bodies that the schema allows and the endpoint rightly does not."""
    return _can_be_said(body)


@schemathesis.hook
def filter_query(_context: Any, query: Any) -> bool:
    """Leave out what is answered only after some seconds."""
    return not query or str(query.get("wait", 0)) not in {str(seconds) for seconds in range(2, 31)}
