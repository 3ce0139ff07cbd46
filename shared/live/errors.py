"""Why a request of the live side is refused."""

from shared.errors import StudyIngestError


class UnknownLearnerError(StudyIngestError):
    """There is no such learner."""


class UnknownTopicError(StudyIngestError):
    """The learner has no such topic."""


class NothingToAskError(StudyIngestError):
    """No question of the topic fits what was asked for."""


class SessionClosedError(StudyIngestError):
    """The session is not in progress, or was closed in another way."""


class NotAskedError(StudyIngestError):
    """The session does not ask this question."""


class NoSuchChoiceError(StudyIngestError):
    """The question has fewer choices."""


class AlreadyAnsweredError(StudyIngestError):
    """The question has another answer in this session."""
