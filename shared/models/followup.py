"""The follow-up: work that finalize asks for and that runs after its commit."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, CreatedAt


class StudyFollowup(Base):
    """A follow-up; its id is the receiver's idempotency key.

    `waiting` → `delivered` | `skipped` (no receiver, or the session was voided) | `dead` (refused, or tries
    exhausted). `last_error` says why.
    """

    __tablename__ = "study_followups"
    __table_args__ = (
        CheckConstraint("kind IN ('explain_misses', 'weak_areas')", name="kind"),
        CheckConstraint("status IN ('waiting', 'delivered', 'skipped', 'dead')", name="status"),
        CheckConstraint("(status = 'waiting') = (finished_at IS NULL)", name="finished_at"),
        UniqueConstraint("study_quiz_session_id", "kind"),
        Index("ix_study_followups_waiting", "next_try_at", postgresql_where=text("status = 'waiting'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    study_quiz_session_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("study_quiz_sessions.id", ondelete="CASCADE")
    )
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="waiting")
    tries: Mapped[int] = mapped_column(server_default="0")
    next_try_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]
