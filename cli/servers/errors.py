"""What goes wrong with the embedded servers."""

from shared.errors import StudyIngestError


class ServerError(StudyIngestError):
    """An embedded server cannot run; the text says why and what to do."""
