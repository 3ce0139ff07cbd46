"""The JSON that the live side answers with."""

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.answers import QuestionResult

Ended = Literal["done", "abandoned"]
Source = Literal["live", "viewer"]


class Snapshot(BaseModel):
    """A session's counts: by outcome, and by learning pattern as of its place in time."""

    correct_count: int
    wrong_count: int
    unsure_count: int
    newly_correct_count: int
    recovered_count: int
    relapsed_count: int
    chronic_remaining_count: int


class GivenAnswer(BaseModel):
    """An answer, with the outcome that was derived for it."""

    selected: int | None
    unsure: bool
    outcome: Literal["correct", "wrong", "unsure"]
    answered_at: datetime


class RecordedAnswer(GivenAnswer):
    """An answer as it stands."""

    pub_id: str
    ordinal: int = Field(description="0-based place of the question in the session")


class AskedQuestion(BaseModel):
    """A question of a session; never which choice is right."""

    ordinal: int = Field(description="0-based place in the session")
    pub_id: str
    subject: str
    choices: list[str]
    answer: GivenAnswer | None = Field(description="null: not answered yet")


class QuizSession(BaseModel):
    """A session and its questions."""

    session_id: int
    study_topic_id: int
    status: Literal["in_progress", "done", "abandoned"]
    source: Source
    quiz_mode: str
    wrong_only: bool
    subject_filter: str | None
    target_per_subject: int
    subject_distribution: dict[str, int] = Field(description="how many questions of each subject")
    cursor: int = Field(description="place of the first question without an answer")
    created_at: datetime
    finished_at: datetime | None
    voided_at: datetime | None = Field(description="when it was taken out of progress")
    snapshot: Snapshot | None = Field(description="null: still in progress")
    questions: list[AskedQuestion]


class ClosedSession(BaseModel):
    """What a closed session left."""

    session_id: int
    status: Ended
    finished_at: datetime
    snapshot: Snapshot
    questions: list[QuestionResult] = Field(description="those answered, and when each is due now")


class PastSession(BaseModel):
    """A closed session."""

    session_id: int
    study_topic_id: int
    status: Ended
    source: Source
    quiz_mode: str
    created_at: datetime
    finished_at: datetime | None
    voided_at: datetime | None = Field(description="when it was taken out of progress")
    snapshot: Snapshot


class DueReview(BaseModel):
    """A question to review."""

    pub_id: str
    study_topic_id: int
    subject: str
    due: date
    last_reviewed_at: datetime
    reviews: int
    misses: int


class WrongNote(BaseModel):
    """A question that was not answered right, or not surely."""

    pub_id: str
    study_topic_id: int
    subject: str
    retired: bool = Field(description="withdrawn: no session asks it any more")
    opened_at: datetime
    closed_at: datetime | None
    misses: int
    miss_streak: int
    due: date


class WeakArea(BaseModel):
    """What is known of a subject."""

    subject: str
    questions: int = Field(description="how many were answered at least once")
    reviews: int
    misses: int
    accuracy: float = Field(description="right choices ÷ reviews")
    chronic: list[str] = Field(description="`pub_id`s of those missed three times in a row or more")
    mean_retrievability: float = Field(description="mean probability of a right answer now")


class WeakAreas(BaseModel):
    """The subjects of a topic, the weakest first."""

    items: list[WeakArea]


class _Page(BaseModel):
    next_cursor: str | None = Field(description="`cursor` of the next page; null: this is the last")


class PastSessions(_Page):
    """Closed sessions, the last recorded first."""

    items: list[PastSession]


class DueReviews(_Page):
    """Questions to review, longest due first."""

    items: list[DueReview]


class WrongNotes(_Page):
    """Wrong notes, last opened first."""

    items: list[WrongNote]
