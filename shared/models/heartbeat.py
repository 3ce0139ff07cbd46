"""The heartbeat: when a periodic task last began."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base


class Heartbeat(Base):
    """The last beginning of a periodic task, by its name and by Postgres' clock."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    beaten_at: Mapped[datetime]
