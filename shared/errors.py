"""The failures that callers tell apart."""


class StudyIngestError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigurationError(StudyIngestError):
    """A setting is missing or wrong; the text names it and the mend."""


class StoreUnavailableError(StudyIngestError):
    """Nothing could be stored in time; the sender may try again."""


class OvertakenError(StudyIngestError):
    """Something changed behind our locks: roll back, and try again (the last guard of I2)."""


class FailedUploadError(StudyIngestError):
    """A start of an upload failed; it is recorded, and will be tried again unless its tries are exhausted."""


class CatalogError(StudyIngestError):
    """A catalog file is wrong, or would rewrite what learners' progress stands on."""


class UnknownSessionError(StudyIngestError):
    """There is no such quiz session."""


class SupersededError(StudyIngestError):
    """A session is void for good: other content was accepted under its upload's uuid."""


class UnknownConflictError(StudyIngestError):
    """There is no such conflict (any more)."""


class UnknownUploadError(StudyIngestError):
    """There is no such upload."""


class ReplayRefusedError(StudyIngestError):
    """An upload cannot be replayed; the text says why. Nothing was changed."""


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
