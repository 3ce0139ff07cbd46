"""What all tables share: types, names of constraints, and `updated_at`."""

import uuid
from datetime import date, datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    FromClause,
    Identity,
    Index,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    event,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Every constraint has a name that a migration can drop. That of a foreign key leaves out its target: with it,
# some would pass Postgres' 63 bytes.
NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

# None is SQL's NULL: JSON's `null` would pass an IS NOT NULL check.
JSON = JSONB(none_as_null=True)


class Base(DeclarativeBase):
    """The declarative base; its metadata is compared with the migrations by a test."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {
        str: Text,
        float: Double,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


# The ids of the catalog come from outside; without autoincrement=False they would be serial.
CatalogId = Annotated[int, mapped_column(BigInteger, primary_key=True, autoincrement=False)]
RowId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
CreatedAt = Annotated[datetime, mapped_column(server_default=func.now())]
UpdatedAt = Annotated[datetime, mapped_column(server_default=func.now(), server_onupdate=FetchedValue())]


def after_create(table: FromClause, sql: str) -> None:
    """Run the statements whenever the table is created."""
    ddl = DDL(sql)  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    event.listen(table, "after_create", ddl)


def keep_updated_at(model: type[Base]) -> None:
    """Set `updated_at` by trigger: an ORM's `onupdate` misses hand-written and bulk statements."""
    after_create(
        model.__table__,
        """
        CREATE OR REPLACE FUNCTION keep_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.updated_at := now();
            RETURN NEW;
        END $$;
        CREATE TRIGGER keep_updated_at BEFORE UPDATE ON %(fullname)s
        FOR EACH ROW EXECUTE FUNCTION keep_updated_at()
        """,
    )


class StudyQuestionAttempt(Base):
    """An attempt with the outcome and rating that were derived for it.

    `ordinal` is its 0-based place in the session as sent, `selected` the 0-based choice, NULL for none.
    `rating` is FSRS's: 1 Again, 2 Hard, 3 Good. Only the first at a question in a session is `counted`.
    `answered_at` is the time used, `answered_at_raw` the time sent; they differ where `clock_adjusted`.
    """

    __tablename__ = "study_question_attempts"
    __table_args__ = (
        CheckConstraint("outcome IN ('correct', 'wrong', 'unsure')", name="outcome"),
        CheckConstraint("rating IN (1, 2, 3)", name="rating"),
        UniqueConstraint("study_quiz_session_id", "ordinal"),
        Index(
            "uq_study_question_attempts_counted",
            "study_quiz_session_id",
            "study_question_id",
            unique=True,
            postgresql_where=text("counted"),
        ),
        # For the fold and the foreign key: only WHERE counted, it would make every cascade scan the table.
        Index(None, "study_question_id", "answered_at"),
    )

    id: Mapped[RowId]
    study_quiz_session_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("study_quiz_sessions.id", ondelete="CASCADE")
    )
    study_question_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("study_questions.id", ondelete="CASCADE")
    )
    ordinal: Mapped[int]
    selected: Mapped[int | None] = mapped_column(SmallInteger)
    unsure: Mapped[bool]
    outcome: Mapped[str]
    rating: Mapped[int] = mapped_column(SmallInteger)
    counted: Mapped[bool]
    answered_at: Mapped[datetime]
    answered_at_raw: Mapped[datetime]
    clock_adjusted: Mapped[bool]


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


class Outbox(Base):
    """A webhook: what a receiver is told of a session, or of an upload that is dead.

    Its id is the receiver's idempotency key. `waiting` → `delivered` | `skipped` (no receiver, or the session
    was voided) | `dead` (refused, or tries exhausted); `last_error` says why. An upload that is dead again
    after a replay has another row.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("kind IN ('explain_misses', 'weak_areas', 'upload.dead')", name="kind"),
        CheckConstraint("status IN ('waiting', 'delivered', 'skipped', 'dead')", name="status"),
        CheckConstraint(
            """CASE kind
                WHEN 'upload.dead' THEN client_session_uuid IS NOT NULL AND study_quiz_session_id IS NULL
                ELSE user_id IS NOT NULL AND study_quiz_session_id IS NOT NULL END""",
            name="subject",
        ),
        CheckConstraint("(status = 'waiting') = (finished_at IS NULL)", name="finished_at"),
        ForeignKeyConstraint(
            ["user_id", "study_quiz_session_id"],
            ["study_quiz_sessions.user_id", "study_quiz_sessions.id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("user_id", "study_quiz_session_id", "kind"),
        Index("ix_outbox_waiting", "next_try_at", postgresql_where=text("status = 'waiting'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str]
    study_quiz_session_id: Mapped[int | None] = mapped_column(BigInteger)
    client_session_uuid: Mapped[uuid.UUID | None]
    status: Mapped[str] = mapped_column(server_default="waiting")
    tries: Mapped[int] = mapped_column(server_default="0")
    next_try_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]


class Heartbeat(Base):
    """When a process last showed that it runs, by its name and by Postgres' clock."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    beaten_at: Mapped[datetime]


class StudyQuestionProgress(Base):
    """The memory state after the last review, with counts, rows of misses or corrects, and the wrong note.

    `stability` is in days, `difficulty` 1 to 10, `due` a study day in `time_zone`. `scheduler` names the
    parameters and version that led here: where they differ from today's, the row must be folded anew.
    """

    __tablename__ = "study_question_progress"
    # No fillfactor: nearly every update moves `due`, which is indexed, so no free space makes it a HOT one.
    __table_args__ = (
        CheckConstraint("reviews > 0", name="reviews"),
        CheckConstraint("misses >= 0 AND corrects >= 0 AND misses + corrects <= reviews", name="counts"),
        CheckConstraint(
            "miss_streak BETWEEN 0 AND misses AND correct_streak BETWEEN 0 AND corrects"
            " AND (miss_streak = 0 OR correct_streak = 0)",
            name="streaks",
        ),
        CheckConstraint("wrong_note IN ('none', 'open', 'closed')", name="wrong_note"),
        CheckConstraint("(wrong_note = 'none') = (note_opened_at IS NULL)", name="note_opened_at"),
        CheckConstraint("wrong_note <> 'closed' OR note_closed_at IS NOT NULL", name="note_closed_at"),
        Index(None, "user_id", "due"),
        Index(
            "ix_study_question_progress_open_note", "user_id", postgresql_where=text("wrong_note = 'open'")
        ),
    )

    user_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    study_question_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("study_questions.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    stability: Mapped[float]
    difficulty: Mapped[float]
    due: Mapped[date]
    last_reviewed_at: Mapped[datetime]
    reviews: Mapped[int]
    misses: Mapped[int]
    corrects: Mapped[int]
    miss_streak: Mapped[int]
    correct_streak: Mapped[int]
    wrong_note: Mapped[str]
    note_opened_at: Mapped[datetime | None]
    note_closed_at: Mapped[datetime | None]
    scheduler: Mapped[str]
    time_zone: Mapped[str]
    updated_at: Mapped[UpdatedAt]


keep_updated_at(StudyQuestionProgress)


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
        UniqueConstraint("user_id", "id"),
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
