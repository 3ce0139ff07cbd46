"""A fault: one way in which a part of the system can fail."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.system import System


def runs_anywhere() -> str:
    """Return an empty reason: the fault can run on every machine."""
    return ""


@dataclass(frozen=True)
class Fault:
    """`inject` breaks something, and repairs it unless the system does; `why_not`: why it cannot run."""

    name: str
    inject: Callable[[System], None]
    why_not: Callable[[], str] = runs_anywhere
