"""The names of time zones."""

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator


def _iana_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone such as Asia/Seoul") from error
    return name


TimeZone = Annotated[str, AfterValidator(_iana_zone)]
