"""The notice: an upload died, and the receiver of follow-ups is to be told."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, CreatedAt


class UploadNotice(Base):
    """A notice of one death; its id is the receiver's idempotency key, its states are a follow-up's.

    An upload that dies again after an operator's replay has another.
    """

    __tablename__ = "upload_notices"
    __table_args__ = (
        CheckConstraint("status IN ('waiting', 'delivered', 'skipped', 'dead')", name="status"),
        CheckConstraint("(status = 'waiting') = (finished_at IS NULL)", name="finished_at"),
        Index("ix_upload_notices_waiting", "next_try_at", postgresql_where=text("status = 'waiting'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    client_session_uuid: Mapped[uuid.UUID]
    upload_tries: Mapped[int]
    status: Mapped[str] = mapped_column(server_default="waiting")
    tries: Mapped[int] = mapped_column(server_default="0")
    next_try_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]
