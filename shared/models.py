"""The tables: the types of their columns, how constraints are named, and how `updated_at` is set."""

import uuid
from datetime import date, datetime, timedelta
from typing import Annotated, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.editions import CURRENT_EDITIONS

# Every constraint has a name, by which a migration can drop it. The name of a foreign key leaves out the
# target: with it, some names would be longer than Postgres' limit of 63 bytes.
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

    metadata = sa.MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {
        str: sa.Text,
        float: sa.Double,
        datetime: sa.DateTime(timezone=True),
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class TransactionId(sa.types.UserDefinedType[str]):
    """Postgres' `xid8`: the number of a transaction, which never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the name of the type."""
        return "xid8"


# The ids of the catalog come from outside; without autoincrement=False they would be serial.
CatalogId = Annotated[int, mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)]
RowId = Annotated[int, mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)]
CreatedAt = Annotated[datetime, mapped_column(server_default=sa.func.now())]
UpdatedAt = Annotated[
    datetime, mapped_column(server_default=sa.func.now(), server_onupdate=sa.FetchedValue())
]


def after_create(table: sa.FromClause, sql: str) -> None:
    """Run the statements in `sql` whenever the table is created."""
    ddl = sa.DDL(sql)  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    sa.event.listen(table, "after_create", ddl)


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


def expect_new_learners(model: type[Base]) -> None:
    """Let ANALYZE list at most one of the most common values of `user_id`.

    With a longer list, Postgres assumes that a learner who is newer than the last ANALYZE has no rows. The
    replay of this learner's upload then reads all their progress: 98 to 214 ms instead of 40 (500 attempts,
    10,000 questions).
    """
    after_create(model.__table__, "ALTER TABLE %(fullname)s ALTER user_id SET STATISTICS 1")


class StudyQuestionAttempt(Base):
    """An attempt with its outcome, rating and study date; a corrected key changes outcome and rating.

    `ordinal` is its 0-based place in the upload, or its question's place in the live session. `selected` is
    the 0-based choice, NULL for none.
    `pub_id` is the edition that the learner saw; not a foreign key, as the log stays if editions are deleted.
    `rating` is FSRS's: 1 Again, 2 Hard, 3 Good. Only a session's first attempt at a question is `counted`.
    `answered_at` is the time used, `answered_at_raw` the time sent. `clock_adjusted`: they differ, or the
    time is doubtful, see `plan.PlannedAttempt`. `utc_offset` is the offset sent, in minutes east, NULL if it
    was missing or zero.
    """

    __tablename__ = "study_question_attempts"
    __table_args__ = (
        sa.CheckConstraint("outcome IN ('correct', 'wrong', 'unsure')", name="outcome"),
        sa.CheckConstraint("rating IN (1, 2, 3)", name="rating"),
        # Keys between a learner's tables begin with user_id, so that partitions by learner need no new keys.
        sa.ForeignKeyConstraint(
            ["user_id", "study_quiz_session_id"],
            ["study_quiz_sessions.user_id", "study_quiz_sessions.id"],
            ondelete="CASCADE",
        ),
        sa.Index(
            "uq_study_question_attempts_counted",
            "user_id",
            "study_quiz_session_id",
            "study_question_id",
            unique=True,
            postgresql_where=sa.text("counted"),
        ),
        # For the fold and the foreign key: if the index held counted attempts only, every cascade would scan
        # the table.
        sa.Index("ix_study_question_attempts_fold", "study_question_id", "user_id", "answered_at"),
    )

    user_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    study_quiz_session_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    study_question_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("study_questions.id", ondelete="CASCADE")
    )
    pub_id: Mapped[str]
    selected: Mapped[int | None] = mapped_column(sa.SmallInteger)
    unsure: Mapped[bool]
    outcome: Mapped[str]
    rating: Mapped[int] = mapped_column(sa.SmallInteger)
    counted: Mapped[bool]
    answered_at: Mapped[datetime]
    answered_at_raw: Mapped[datetime]
    utc_offset: Mapped[int | None] = mapped_column(sa.SmallInteger)
    study_date: Mapped[date]
    clock_adjusted: Mapped[bool]


expect_new_learners(StudyQuestionAttempt)


class User(Base):
    """A learner; `time_zone` is an IANA name, NULL means the configured default."""

    __tablename__ = "users"

    id: Mapped[CatalogId]
    time_zone: Mapped[str | None]


class StudyTopic(Base):
    """A topic of one learner. `exam_on`: the exam's date; until then, no due date after the exam is shown."""

    __tablename__ = "study_topics"
    __table_args__ = (
        # Referenced by study_questions, so that a question has its topic's owner.
        sa.UniqueConstraint("id", "user_id"),
    )

    id: Mapped[CatalogId]
    user_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str]
    exam_on: Mapped[date | None]


class StudyQuestion(Base):
    """A question; its choices are in its editions. From the time `retired_at` on, it is withdrawn."""

    __tablename__ = "study_questions"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["study_topic_id", "user_id"], ["study_topics.id", "study_topics.user_id"], ondelete="CASCADE"
        ),
        sa.Index(None, "study_topic_id", "user_id"),
    )

    id: Mapped[CatalogId]
    user_id: Mapped[int] = mapped_column(sa.BigInteger)
    study_topic_id: Mapped[int] = mapped_column(sa.BigInteger)
    subject: Mapped[str]
    exam_frequency: Mapped[float | None]
    retired_at: Mapped[datetime | None]


class PublishedItem(Base):
    """An edition of a question: what a learner sees under `pub_id`, and the key by which answers are graded.

    `correct_choice` is a 0-based index into `choices`.
    """

    __tablename__ = "published_items"

    pub_id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("study_questions.id", ondelete="CASCADE"), index=True
    )
    choices: Mapped[list[Any]]
    correct_choice: Mapped[int] = mapped_column(sa.SmallInteger)
    published_at: Mapped[datetime | None]


after_create(PublishedItem.__table__, CURRENT_EDITIONS)

# Tables that a document server may have itself: then ours are views on them (docs/adopting.md).
CATALOG = {each.__tablename__ for each in (User, StudyTopic, StudyQuestion, PublishedItem)}


# Like uuidv7(), which Postgres has from version 18 on: an id begins with the time, so that new ids share a
# page of the index. Random ids, six for an upload, would each change another page, and Postgres writes a page
# whole at its first change after a checkpoint (docs/performance.md, "What Postgres writes").
UUID_7 = """
    CAST(lpad(to_hex(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)), 12, '0')
        || '7' || substr(replace(CAST(gen_random_uuid() AS text), '-', ''), 14) AS uuid)
"""


class Outbox(Base):
    """A webhook: a message about a session, about a dead upload, or about changed progress.

    Its id is the receiver's idempotency key. `waiting` → `delivered` | `skipped` (no receiver, session voided
    or upload set back) | `dead` (refused, or tries exhausted); `last_error` says why. An upload that becomes
    dead a second time, after it was set back, gets a second row; at most one `progress.changed` waits.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        sa.CheckConstraint(
            "kind IN ('explain_misses', 'weak_areas', 'upload.dead', 'progress.changed')", name="kind"
        ),
        sa.CheckConstraint("status IN ('waiting', 'delivered', 'skipped', 'dead')", name="status"),
        sa.CheckConstraint(
            """CASE WHEN kind = 'progress.changed'
                THEN num_nonnulls(user_id, study_quiz_session_id, client_session_uuid) = 0
                WHEN kind = 'upload.dead'
                THEN client_session_uuid IS NOT NULL AND study_quiz_session_id IS NULL
                ELSE user_id IS NOT NULL AND study_quiz_session_id IS NOT NULL END""",
            name="subject",
        ),
        sa.CheckConstraint("(status = 'waiting') = (finished_at IS NULL)", name="finished_at"),
        sa.ForeignKeyConstraint(
            ["user_id", "study_quiz_session_id"],
            ["study_quiz_sessions.user_id", "study_quiz_sessions.id"],
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("user_id", "study_quiz_session_id", "kind"),
        sa.Index("ix_outbox_waiting", "next_try_at", postgresql_where=sa.text("status = 'waiting'")),
        sa.Index(
            "uq_outbox_progress_changed",
            "kind",
            unique=True,
            postgresql_where=sa.text("kind = 'progress.changed' AND status = 'waiting'"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=sa.text(UUID_7))
    user_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    kind: Mapped[str]
    study_quiz_session_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    client_session_uuid: Mapped[uuid.UUID | None]
    status: Mapped[str] = mapped_column(server_default="waiting")
    tries: Mapped[int] = mapped_column(server_default="0")
    next_try_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]


class Heartbeat(Base):
    """The name of a process, and when it last showed that it runs, by Postgres' clock."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    beaten_at: Mapped[datetime]


class StudyQuestionProgress(Base):
    """The memory state after the last attempt, with counts, streaks and the wrong note.

    `stability` is in days, `difficulty` is from 1 to 10. `due` is a study date, never later than
    `due_at_most`, which is set if the last counted attempt was unsure but right. `last_answered_at` is the
    time of the newest folded attempt, counted or practice; `last_study_date` is the latest study date of all
    folded attempts. `reviews`, `misses` and `corrects` are numbers of counted attempts. `correct_since` is
    the study date of the first correct answer of the current streak. `scheduler` names the parameters and
    rules that computed the row: if the code has others now, the row must be folded again. `changed_xid`: the
    last transaction that saved the row, see `LearnerChanges`.
    """

    __tablename__ = "study_question_progress"
    __table_args__ = (
        sa.CheckConstraint("reviews > 0", name="reviews"),
        sa.CheckConstraint("misses >= 0 AND corrects >= 0 AND misses + corrects <= reviews", name="counts"),
        sa.CheckConstraint(
            "miss_streak BETWEEN 0 AND misses AND correct_streak BETWEEN 0 AND corrects"
            " AND (miss_streak = 0 OR correct_streak = 0)",
            name="streaks",
        ),
        sa.CheckConstraint("(correct_streak = 0) = (correct_since IS NULL)", name="correct_since"),
        sa.CheckConstraint("due <= due_at_most", name="due_at_most"),
        sa.CheckConstraint("wrong_note IN ('none', 'open', 'closed')", name="wrong_note"),
        sa.CheckConstraint("(wrong_note = 'none') = (note_opened_at IS NULL)", name="note_opened_at"),
        sa.CheckConstraint("wrong_note <> 'closed' OR note_closed_at IS NOT NULL", name="note_closed_at"),
        # No index has a column that changes: so an update can be a HOT update, which writes to no index.
        sa.Index(None, "user_id"),
    )

    # The question first: no other index serves the foreign key.
    study_question_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("study_questions.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    stability: Mapped[float]
    difficulty: Mapped[float]
    due: Mapped[date]
    due_at_most: Mapped[date | None]
    last_answered_at: Mapped[datetime]
    last_study_date: Mapped[date]
    reviews: Mapped[int]
    misses: Mapped[int]
    corrects: Mapped[int]
    miss_streak: Mapped[int]
    correct_streak: Mapped[int]
    correct_since: Mapped[date | None]
    wrong_note: Mapped[str]
    note_opened_at: Mapped[datetime | None]
    note_closed_at: Mapped[datetime | None]
    scheduler: Mapped[str]
    updated_at: Mapped[UpdatedAt]
    changed_xid: Mapped[str | None] = mapped_column(TransactionId)


keep_updated_at(StudyQuestionProgress)
expect_new_learners(StudyQuestionProgress)


class LearnerChanges(Base):
    """The last transaction that changed a learner's progress, and the last that deleted some (`whole_xid`).

    Until a transaction deletes progress of the learner, `whole_xid` is the transaction that added this row.
    No foreign key: the row stays when the learner is deleted, since readers must get this change, too.
    """

    __tablename__ = "learner_changes"

    user_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    changed_xid: Mapped[str] = mapped_column(TransactionId, index=True)
    whole_xid: Mapped[str] = mapped_column(TransactionId)


class StudyQuizSession(Base):
    """A session: `in_progress`, then `done` or `abandoned`; void if `voided_at` is set.

    `question_ids`: the questions in the order asked; never changed. Finalizing sets the counts, and
    `finished_at` of a live session; a corrected key changes only the correct, wrong and unsure counts.
    `client_session_uuid` and `finalized_at` are set by a replay, NULL where `source` is `live`.
    `superseded_at`: void permanently, see `SupersededError`.
    """

    __tablename__ = "study_quiz_sessions"
    __table_args__ = (
        sa.Index(
            "uq_study_quiz_sessions_in_progress",
            "user_id",
            "study_topic_id",
            unique=True,
            postgresql_where=sa.text("status = 'in_progress'"),
        ),
        # The last guard against replaying an upload twice.
        sa.Index(
            "uq_study_quiz_sessions_client_session_uuid_study_topic_id",
            "client_session_uuid",
            "study_topic_id",
            unique=True,
            postgresql_where=sa.text("client_session_uuid IS NOT NULL AND superseded_at IS NULL"),
        ),
        # For the learners who are being asked a question, including its former owners. A session of an upload
        # is never in this index. With a list of pending entries, which each lookup reads, Postgres would
        # rather read all sessions in progress: deleting a learner of 10,000 questions took 35 s instead of
        # 0.2, beside 2,000 sessions.
        sa.Index(
            "ix_study_quiz_sessions_asking",
            "question_ids",
            postgresql_using="gin",
            postgresql_ops={"question_ids": "jsonb_path_ops"},
            postgresql_with={"fastupdate": "off"},
            postgresql_where=sa.text("status = 'in_progress'"),
        ),
        # Referenced by the attempts; a learner's sessions are listed by it, too.
        sa.UniqueConstraint("user_id", "id"),
    )

    id: Mapped[RowId]
    user_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"))
    study_topic_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("study_topics.id", ondelete="CASCADE"), index=True
    )
    target_per_subject: Mapped[int] = mapped_column(server_default="20")
    subject_filter: Mapped[str | None] = mapped_column(sa.String(120))
    wrong_only: Mapped[bool] = mapped_column(server_default=sa.false())
    quiz_mode: Mapped[str] = mapped_column(sa.String(30), server_default="random")
    question_ids: Mapped[list[Any]]
    subject_distribution: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    status: Mapped[str] = mapped_column(sa.String(20), server_default="in_progress")
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
    client_session_uuid: Mapped[str | None] = mapped_column(sa.String(64))
    source: Mapped[str] = mapped_column(sa.String(20), server_default="live")
    finalized_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]
    superseded_at: Mapped[datetime | None]


keep_updated_at(StudyQuizSession)


class Upload(Base):
    """An upload; the row, not the broker's message, is the record of work to do.

    `received` (row committed) → `ingested` (every effect committed) | `rejected` (cannot succeed at present,
    `reason` says why) | `dead` (tries exhausted). There is no `running`: a lock on the row shows that a
    replay runs, and a crash releases the lock. `content_hash` is `version:hex`; it stays when a purge sets
    the payload to NULL. `user_id`: the learner, once a replay found exactly one, or the deleted learner of a
    blanked upload; not a foreign key, as the row stays when the learner is deleted. `learner_id`: the only
    learner whom the upload may concern, as the sender's token or an import says; NULL for a trusted sender.
    `clock_shift`: set by an operator if the clock was wrong, and added to all times of the payload.
    `waiting_since`: when the row last became `received`; later than `received_at` if the upload was in the
    spool, or was set back. `blanked`: the payload was deleted with its learner, and no sender's content is
    stored under this uuid again unless an operator accepts a conflict; a payload that was only purged can be
    stored again.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        sa.CheckConstraint("status IN ('received', 'ingested', 'rejected', 'dead')", name="status"),
        sa.CheckConstraint("(status = 'received') = (finalized_at IS NULL)", name="finalized_at"),
        sa.CheckConstraint("(status = 'rejected') = (reason IS NOT NULL)", name="reason"),
        sa.CheckConstraint("status <> 'received' OR payload IS NOT NULL", name="payload"),
        sa.Index("ix_uploads_received", "next_try_at", postgresql_where=sa.text("status = 'received'")),
        # For the lists of operators; partial, so that an upload that goes well never touches it.
        sa.Index(
            "ix_uploads_failed",
            "status",
            "received_at",
            postgresql_where=sa.text("status IN ('rejected', 'dead')"),
        ),
        sa.Index(None, "user_id", postgresql_where=sa.text("user_id IS NOT NULL")),
        # Rows are stored nearly in the order of their times: an index of page ranges costs an insert almost
        # nothing.
        sa.Index(
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
    waiting_since: Mapped[CreatedAt]
    learner_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    clock_shift: Mapped[timedelta | None]
    status: Mapped[str] = mapped_column(server_default="received")
    tries: Mapped[int] = mapped_column(server_default="1")  # the start by the first message
    next_try_at: Mapped[datetime]
    last_error: Mapped[str | None]
    reason: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    user_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    finalized_at: Mapped[datetime | None]
    blanked: Mapped[bool] = mapped_column(server_default=sa.false())


class UploadConflict(Base):
    """Other content under the uuid of an upload, kept for an operator; the present content is in `uploads`.

    `learner_id`: as in `Upload`. `user_id`, `clock_shift`: as in `Upload`, if this was the upload's content
    before an operator accepted a conflict; else NULL. `blanked`: the payload was deleted with its learner,
    and is never stored again.
    """

    __tablename__ = "upload_conflicts"
    __table_args__ = (sa.UniqueConstraint("client_session_uuid", "content_hash"),)

    id: Mapped[RowId]
    client_session_uuid: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("uploads.client_session_uuid"))
    content_hash: Mapped[str]
    payload: Mapped[dict[str, Any] | None]
    received_at: Mapped[datetime]
    learner_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    user_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    clock_shift: Mapped[timedelta | None]
    blanked: Mapped[bool] = mapped_column(server_default=sa.false())


class UploadEvent(Base):
    """What happened to an upload; rows are only added.

    The times of arrival and ingestion are in the upload's row. They are added as events only when the row is
    about to lose them, as when other content is accepted. So an upload that goes well has no `received` and
    no `ingested`. A `received` with a `detail` is an arrival of other content that was discarded later.
    `actor`: the operator who did it, as their session or command states it.
    """

    __tablename__ = "upload_events"
    __table_args__ = (
        sa.CheckConstraint(
            "kind IN ('received', 'ingested', 'failed', 'rejected', 'dead', 'replayed', 'voided', 'unvoided',"
            " 'accepted', 'discarded', 'purged')",
            name="kind",
        ),
    )

    id: Mapped[RowId]
    client_session_uuid: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("uploads.client_session_uuid", ondelete="CASCADE"), index=True
    )
    at: Mapped[CreatedAt]
    kind: Mapped[str]
    detail: Mapped[str | None]
    actor: Mapped[str | None] = mapped_column(
        server_default=sa.text("nullif(current_setting('study_ingest.actor', true), '')")
    )


class DataSetting(Base):
    """A setting on which stored results depend, the same for all processes: see `shared/data_settings.py`."""

    __tablename__ = "data_settings"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
