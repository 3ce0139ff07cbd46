"""The catalog: learners, their topics and questions, and the names under which a viewer knows them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, SmallInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, CatalogId


class User(Base):
    """A learner; `time_zone` is an IANA name, NULL means the configured default."""

    __tablename__ = "users"

    id: Mapped[CatalogId]
    time_zone: Mapped[str | None]


class StudyTopic(Base):
    """A topic; it belongs to one learner."""

    __tablename__ = "study_topics"
    __table_args__ = (
        # What study_questions refers to, so that a question has its topic's owner.
        UniqueConstraint("id", "user_id"),
    )

    id: Mapped[CatalogId]
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]


class StudyQuestion(Base):
    """A question, withdrawn if `retired_at` is set; `correct_choice` is a 0-based index into `choices`."""

    __tablename__ = "study_questions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["study_topic_id", "user_id"], ["study_topics.id", "study_topics.user_id"], ondelete="CASCADE"
        ),
        Index(None, "study_topic_id", "user_id"),
    )

    id: Mapped[CatalogId]
    user_id: Mapped[int] = mapped_column(BigInteger)
    study_topic_id: Mapped[int] = mapped_column(BigInteger)
    subject: Mapped[str]
    choices: Mapped[list[Any]]
    correct_choice: Mapped[int] = mapped_column(SmallInteger)
    exam_frequency: Mapped[float | None]
    retired_at: Mapped[datetime | None]


class PublishedItem(Base):
    """A public id; several may name one question."""

    __tablename__ = "published_items"

    pub_id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("study_questions.id", ondelete="CASCADE"), index=True
    )
