"""The topics of a learner."""

from typing import NamedTuple

from sqlalchemy import Connection, text

_TOPICS = text("SELECT id, name FROM study_topics WHERE user_id = :user_id ORDER BY name, id")


class Topic(NamedTuple):
    """A topic's id and name."""

    id: int
    name: str


def list_topics(connection: Connection, user_id: int) -> list[Topic]:
    """List a learner's topics by name."""
    return [Topic(*row) for row in connection.execute(_TOPICS, {"user_id": user_id})]
