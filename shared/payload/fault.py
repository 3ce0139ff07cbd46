"""What is wrong with a payload, and where: in words that repeat nothing of it (I11)."""

from typing import TypedDict

from shared.errors import StudyIngestError

# Enough to mend a client by; 500 bad attempts need no answer of thousands of lines.
MAX_FAULTS = 20


class Fault(TypedDict):
    """Name a place by its JSON pointer (RFC 6901), and what is wrong there."""

    pointer: str
    detail: str


class InvalidPayloadError(StudyIngestError):
    """The body is JSON, but no upload."""

    def __init__(self, errors: list[Fault]) -> None:
        super().__init__("The payload is not a valid upload.")
        self.errors = errors[:MAX_FAULTS]
