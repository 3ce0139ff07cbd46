"""The learner on whose behalf the front end asks, and what is his."""

from sqlalchemy import Connection, text

from shared.live.errors import UnknownLearnerError, UnknownTopicError
from shared.study.store import lock_learner

_LEARNER = text("SELECT EXISTS (SELECT FROM users WHERE id = :user_id)")
_TOPIC = text("SELECT EXISTS (SELECT FROM study_topics WHERE id = :topic_id AND user_id = :user_id)")


def require_learner(connection: Connection, user_id: int) -> None:
    """Raise UnknownLearnerError if there is no such learner."""
    if not connection.scalar(_LEARNER, {"user_id": user_id}):
        raise UnknownLearnerError(f"there is no learner {user_id}")


def require_topic(connection: Connection, user_id: int, topic_id: int) -> None:
    """Raise UnknownTopicError if the learner has no such topic; what others have is unknown too."""
    if not connection.scalar(_TOPIC, {"user_id": user_id, "topic_id": topic_id}):
        raise UnknownTopicError(f"the learner has no topic {topic_id}")


def enter(connection: Connection, user_id: int) -> None:
    """Lock a learner, before anything of his changes: always first, the quiz session second."""
    lock_learner(connection, user_id)
    require_learner(connection, user_id)
