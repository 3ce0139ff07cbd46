"""Errors that callers distinguish; an error that only one module uses is defined there."""


class StudyIngestError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigurationError(StudyIngestError):
    """A setting is missing or wrong; the text names it and the fix."""


class MigrationError(StudyIngestError):
    """A migration stopped, or cannot begin; the database is at the last revision that was finished."""


class HostCatalogError(StudyIngestError):
    """The catalog belongs to a document server; we only have views of it, and write nothing through them."""


class StoreUnavailableError(StudyIngestError):
    """No store answered in time; the sender may try again."""


class UnstorableError(StudyIngestError):
    """Postgres can never store this upload; others are not affected."""


class OvertakenError(StudyIngestError):
    """Something changed in spite of our locks: roll back and try again."""


class FailedUploadError(StudyIngestError):
    """Uploads of a message were not replayed; the sweeper enqueues those that have tries left."""


class CatalogError(StudyIngestError):
    """A catalog is wrong, or would change editions that learners' progress is based on."""


class ChangedTopicError(StudyIngestError):
    """The topics of a change do not have the digests that it expects; the text names a topic or a digest."""


class UnknownSessionError(StudyIngestError):
    """There is no such quiz session."""


class SupersededError(StudyIngestError):
    """A session is void permanently: its upload was replayed again, or has other content now."""


class UnknownConflictError(StudyIngestError):
    """There is no such conflict, or it was decided already."""


class UnknownUploadError(StudyIngestError):
    """There is no such upload."""


class ReplayRefusedError(StudyIngestError):
    """An upload cannot be replayed; the text says why. The caller must roll back."""


class UnknownLearnerError(StudyIngestError):
    """There is no such learner."""


class UnknownTopicError(StudyIngestError):
    """The learner has no such topic."""


class NothingToAskError(StudyIngestError):
    """No question of the topic matches the request."""


class SessionClosedError(StudyIngestError):
    """The session is not in progress, or was closed in another way."""


class NotAskedError(StudyIngestError):
    """The session does not ask this question."""


class NoSuchChoiceError(StudyIngestError):
    """The question does not have as many choices as the answer supposes."""


class AlreadyAnsweredError(StudyIngestError):
    """The question has another answer in this session."""


class UnknownCursorError(StudyIngestError):
    """A reader's cursor is not known in this database."""
