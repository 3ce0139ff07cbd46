"""Errors that callers distinguish; an error that only one module uses is defined there."""


class StudyIngestError(Exception):
    """Base of this project's own errors."""


class ConfigurationError(StudyIngestError):
    """Something that an operator has to set up is missing or wrong; the text names it."""


class MigrationError(StudyIngestError):
    """A migration stopped or cannot begin, or the revision cannot be read; finished revisions stay."""


class HostCatalogError(StudyIngestError):
    """The catalog belongs to a document server; we only have views of it, and write nothing through them."""


class StoreUnavailableError(StudyIngestError):
    """No store could serve a request in time; the sender may try again."""


class UnstorableError(StudyIngestError):
    """Postgres can never store this upload; other uploads are not affected."""


class OvertakenError(StudyIngestError):
    """Something changed in spite of our locks, a learner is missing, or two uploads share a session.

    The caller rolls back and tries again.
    """


class FailedUploadError(StudyIngestError):
    """One or more uploads of a message were not replayed; the sweeper enqueues those that are not dead."""


class CatalogError(StudyIngestError):
    """A catalog is wrong, or would change editions that learners' progress is based on."""


class ChangedTopicError(StudyIngestError):
    """A change expects other digests than its topics have; the text names the topics or the digests."""


class UnknownSessionError(StudyIngestError):
    """There is no such quiz session."""


class SupersededError(StudyIngestError):
    """A session is void permanently: its upload was replayed again, or has other content now."""


class UnknownConflictError(StudyIngestError):
    """There is no such conflict, or it was decided already."""


class UnknownUploadError(StudyIngestError):
    """There is no such upload."""


class ReplayRefusedError(StudyIngestError):
    """This replay, or accepting this conflict, is refused; the text says why. The caller must roll back."""


class UnknownLearnerError(StudyIngestError):
    """There is no such learner."""


class UnknownTopicError(StudyIngestError):
    """The learner has no such topic."""


class NothingToAskError(StudyIngestError):
    """No question of the topic matches the request."""


class SessionClosedError(StudyIngestError):
    """The session is done or abandoned: it takes no answer, and cannot be closed in the other way."""


class NotAskedError(StudyIngestError):
    """The session does not ask this question."""


class NoSuchChoiceError(StudyIngestError):
    """The question does not have as many choices as the answer supposes."""


class AlreadyAnsweredError(StudyIngestError):
    """The question already has a different answer in this session."""


class UnknownCursorError(StudyIngestError):
    """A reader's cursor is not known in this database."""
