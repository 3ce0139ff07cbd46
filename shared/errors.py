"""Errors that callers distinguish; an error that only one module uses is defined in that module."""


class StudyIngestError(Exception):
    """Base of this project's own errors."""


class ConfigurationError(StudyIngestError):
    """Something that an operator has to set up is missing or wrong; the text names it."""


class MigrationError(StudyIngestError):
    """A migration failed or cannot begin, or the database's revision cannot be read.

    Revisions that were applied before the failure are kept.
    """


class HostCatalogError(StudyIngestError):
    """The catalog belongs to a document server; we only have views of it, and write nothing through them."""


class StoreUnavailableError(StudyIngestError):
    """No store could serve a request in time; the sender may try again."""


class UnstorableError(StudyIngestError):
    """Postgres can never store this upload; other uploads are not affected."""


class OvertakenError(StudyIngestError):
    """Something changed in spite of our locks, or two uploads share a session.

    The caller rolls back, and tries again or refuses.
    """


class FailedUploadError(StudyIngestError):
    """One or more uploads of a message were not replayed; the sweeper enqueues those that are not dead."""


class CatalogError(StudyIngestError):
    """A catalog is wrong, or would change editions that learners' progress is based on."""


class ChangedTopicError(StudyIngestError):
    """The digests that a request expects are not those of its topics; the text names topics or digests."""


class UnknownSessionError(StudyIngestError):
    """There is no such quiz session."""


class SupersededError(StudyIngestError):
    """A session is void permanently: its upload was replayed again, or has other content now."""


class UnknownConflictError(StudyIngestError):
    """There is no such conflict, or an operator has already decided about it."""


class UnknownUploadError(StudyIngestError):
    """There is no such upload."""


class ReplayRefusedError(StudyIngestError):
    """A replay, or the acceptance of a conflict, is refused; the text says why. The caller must roll back."""


class UnknownLearnerError(StudyIngestError):
    """There is no such learner."""


class UnknownTopicError(StudyIngestError):
    """The learner has no such topic."""


class NothingToAskError(StudyIngestError):
    """No question of the topic matches the request."""


class SessionClosedError(StudyIngestError):
    """The session is done or abandoned: it takes no answer, and its status no longer changes."""


class NotAskedError(StudyIngestError):
    """The session does not ask this question."""


class NoSuchChoiceError(StudyIngestError):
    """The question has no choice with the index that was selected."""


class AlreadyAnsweredError(StudyIngestError):
    """The question already has a different answer in this session."""


class UnknownCursorError(StudyIngestError):
    """A reader's cursor is not known in this database."""
