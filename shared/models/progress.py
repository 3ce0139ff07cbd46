"""Progress: what is known of one learner and one question, a cache of the fold over its attempts."""

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, UpdatedAt, keep_updated_at


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
