"""The quiz session: one learner, one topic, one sitting."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, CreatedAt, RowId, UpdatedAt, keep_updated_at


class StudyQuizSession(Base):
    """A session: `in_progress`, then `done` or `abandoned`; void if `voided_at` is set.

    `question_ids` is the order asked and never changes. The engine's finalize sets `finished_at` and the
    counts: history, never rewritten. `client_session_uuid` and `finalized_at` are ingest's, NULL where
    `source` is `live`. `superseded_at`: void for good, as the upload's uuid was given to other content.
    """

    __tablename__ = "study_quiz_sessions"
    __table_args__ = (
        Index(
            "uq_study_quiz_sessions_in_progress",
            "user_id",
            "study_topic_id",
            unique=True,
            postgresql_where=text("status = 'in_progress'"),
        ),
        # The last guard against replaying an upload twice.
        Index(
            "uq_study_quiz_sessions_standing",
            "client_session_uuid",
            "study_topic_id",
            unique=True,
            postgresql_where=text("client_session_uuid IS NOT NULL AND superseded_at IS NULL"),
        ),
        Index(None, "user_id", "id"),
    )

    id: Mapped[RowId]
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"))
    study_topic_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("study_topics.id", ondelete="CASCADE"), index=True
    )
    target_per_subject: Mapped[int] = mapped_column(server_default="20")
    subject_filter: Mapped[str | None] = mapped_column(String(120))
    wrong_only: Mapped[bool] = mapped_column(server_default=false())
    quiz_mode: Mapped[str] = mapped_column(String(30), server_default="random")
    question_ids: Mapped[list[Any]]
    subject_distribution: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    status: Mapped[str] = mapped_column(String(20), server_default="in_progress")
    cursor: Mapped[int] = mapped_column(server_default="0")
    correct_count: Mapped[int] = mapped_column(server_default="0")
    wrong_count: Mapped[int] = mapped_column(server_default="0")
    unsure_count: Mapped[int] = mapped_column(server_default="0")
    newly_correct_count: Mapped[int] = mapped_column(server_default="0")
    recovered_count: Mapped[int] = mapped_column(server_default="0")
    relapsed_count: Mapped[int] = mapped_column(server_default="0")
    chronic_remaining_count: Mapped[int] = mapped_column(server_default="0")
    finished_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    client_session_uuid: Mapped[str | None] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(20), server_default="live")
    finalized_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]
    superseded_at: Mapped[datetime | None]


keep_updated_at(StudyQuizSession)
