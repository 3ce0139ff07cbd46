"""The attempt: one answer to one question, the truth from which progress is folded."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, RowId


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
