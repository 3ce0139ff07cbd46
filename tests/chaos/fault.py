"""A fault: one way in which a part of the system can fail."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.ground import Ground


def runs_anywhere() -> str:
    """Return no reason against it."""
    return ""


@dataclass(frozen=True)
class Fault:
    """`strike` breaks something and, where nothing else does, repairs it; `obstacle` says why not here."""

    name: str
    strike: Callable[[Ground], None]
    obstacle: Callable[[], str] = runs_anywhere
