"""The upload: one delivery of one finished viewer session, and what contradicts it."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, RowId, after_create
from shared.models.catalog import User


class Upload(Base):
    """An upload; the row, not the broker's message, is the record of work to do.

    `received` (row committed) → `ingested` (every effect committed) | `rejected` (cannot succeed as things
    stand, `reason` says why) | `dead` (tries exhausted). There is no `running`: the row lock says it, and a
    crash undoes it. `content_hash` is `version:hex` and outlives the payload, which is NULL once purged.
    `user_id` is known once ingested, or blanked; it is no foreign key, as the row outlives the learner.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        CheckConstraint("status IN ('received', 'ingested', 'rejected', 'dead')", name="status"),
        CheckConstraint("(status = 'received') = (finalized_at IS NULL)", name="finalized_at"),
        CheckConstraint("(status = 'rejected') = (reason IS NOT NULL)", name="reason"),
        CheckConstraint("status <> 'received' OR payload IS NOT NULL", name="payload"),
        Index("ix_uploads_received", "next_try_at", postgresql_where=text("status = 'received'")),
        # What an operator lists; partial, so that an upload that goes well never touches it.
        Index(
            "ix_uploads_failed",
            "status",
            "received_at",
            postgresql_where=text("status IN ('rejected', 'dead')"),
        ),
        Index(None, "user_id", postgresql_where=text("user_id IS NOT NULL")),
        # Rows lie about in the order of their times: by ranges of pages, an arrival costs next to nothing.
        Index(
            "ix_uploads_times",
            "received_at",
            "finalized_at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": "true"},
        ),
    )

    client_session_uuid: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    payload: Mapped[dict[str, Any] | None]
    content_hash: Mapped[str]
    received_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(server_default="received")
    tries: Mapped[int] = mapped_column(server_default="1")  # the first ring is a try
    next_try_at: Mapped[datetime]
    last_error: Mapped[str | None]
    reason: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    finalized_at: Mapped[datetime | None]


class UploadConflict(Base):
    """Other content under the uuid of an upload: the first recorded stands, this is kept for the operator.

    `user_id` is known where this content was ingested, and gave way to one that was accepted.
    """

    __tablename__ = "upload_conflicts"
    __table_args__ = (UniqueConstraint("client_session_uuid", "content_hash"),)

    id: Mapped[RowId]
    client_session_uuid: Mapped[uuid.UUID] = mapped_column(ForeignKey("uploads.client_session_uuid"))
    content_hash: Mapped[str]
    payload: Mapped[dict[str, Any] | None]
    received_at: Mapped[datetime]
    user_id: Mapped[int | None] = mapped_column(BigInteger)


# A deleted learner's answers go too, before the catalog forgets whose they are. What was ingested has its
# learner; of the rest, each learner whose questions it names is one. A conflict that was never ingested also
# goes with its upload's. An upload that waits to be replayed is rejected: its questions are gone.
after_create(
    User.__table__,
    """
    CREATE OR REPLACE FUNCTION blank_uploads() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        theirs text[] := ARRAY(
            SELECT pub_id FROM study_topics
            JOIN study_questions ON study_topic_id = study_topics.id
            JOIN published_items ON source_id = study_questions.id
            WHERE study_topics.user_id = OLD.id
        );
        blanked uuid[] := ARRAY(
            SELECT client_session_uuid FROM uploads WHERE user_id = OLD.id
            UNION ALL
            SELECT client_session_uuid FROM uploads
            WHERE (status = 'received' OR status IN ('rejected', 'dead')) AND user_id IS NULL
              AND EXISTS (
                  SELECT FROM jsonb_path_query(payload, '$.attempts[*].pub_id') AS named
                  WHERE named #>> '{}' = ANY(theirs)
              )
        );
    BEGIN
        UPDATE upload_conflicts SET payload = NULL
        WHERE user_id = OLD.id OR user_id IS NULL AND (
            client_session_uuid = ANY(blanked)
            OR EXISTS (
                SELECT FROM jsonb_path_query(payload, '$.attempts[*].pub_id') AS named
                WHERE named #>> '{}' = ANY(theirs)
            )
        );
        UPDATE uploads SET
            payload = NULL,
            result = NULL,
            user_id = OLD.id,
            status = CASE status WHEN 'received' THEN 'rejected' ELSE status END,
            reason = CASE status WHEN 'received' THEN 'learner_deleted' ELSE reason END,
            finalized_at = coalesce(finalized_at, now())
        WHERE client_session_uuid = ANY(blanked);
        RETURN OLD;
    END $$;
    CREATE TRIGGER blank_uploads BEFORE DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION blank_uploads()
    """,
)
