"""Every table, declared once; the migrations must lead to the same."""

from shared.models.attempt import StudyQuestionAttempt
from shared.models.base import Base
from shared.models.catalog import PublishedItem, StudyQuestion, StudyTopic, User
from shared.models.followup import StudyFollowup
from shared.models.heartbeat import Heartbeat
from shared.models.notice import UploadNotice
from shared.models.progress import StudyQuestionProgress
from shared.models.session import StudyQuizSession
from shared.models.upload import Upload, UploadConflict

__all__ = [
    "Base",
    "Heartbeat",
    "PublishedItem",
    "StudyFollowup",
    "StudyQuestion",
    "StudyQuestionAttempt",
    "StudyQuestionProgress",
    "StudyQuizSession",
    "StudyTopic",
    "Upload",
    "UploadConflict",
    "UploadNotice",
    "User",
]
