"""The names of time zones."""

from functools import cache
from importlib import resources
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator


@cache
def names() -> frozenset[str]:
    """Return the names of the IANA database.

    A host may know other names, such as `localtime` and `posix/Asia/Seoul`: on another host they are another
    zone, or unknown.
    """
    return frozenset((resources.files("tzdata") / "zones").read_text().split())


def first_known(*wanted: str | None) -> ZoneInfo:
    """Return the first zone that is known on this host, else UTC; another host may know newer zones."""
    return ZoneInfo(next((name for name in wanted if name in names()), "UTC"))


def _iana_zone(name: str) -> str:
    if name not in names():
        raise ValueError(f"{name!r} is not an IANA time zone such as Asia/Seoul")
    return name


TimeZone = Annotated[str, AfterValidator(_iana_zone)]
