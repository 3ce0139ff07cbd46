"""Models of the live side's responses, with examples."""

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.schemas import PROGRESS, RESULT, SNAPSHOT, Progress, QuestionResult, Snapshot, with_example

Ended = Literal["done", "abandoned"]
Source = Literal["live", "viewer"]

ANSWER = {
    "selected": 2,
    "unsure": False,
    "outcome": "correct",
    "answered_at": "2026-11-22T00:00:41.104417Z",
}


class GradedAnswer(BaseModel):
    """An answer with its derived outcome."""

    selected: int | None
    unsure: bool
    outcome: Literal["correct", "wrong", "unsure"]
    answered_at: datetime


class RecordedAnswer(GradedAnswer):
    """An answer as it is recorded."""

    model_config = with_example({"pub_id": "q-7f3a", "ordinal": 0} | ANSWER)

    pub_id: str
    ordinal: int = Field(description="0-based place of the question in the session")


class AskedQuestion(BaseModel):
    """A question of a session; the right choice is never shown."""

    ordinal: int = Field(description="0-based place in the session")
    pub_id: str
    subject: str
    choices: list[str]
    answer: GradedAnswer | None = Field(description="null: not answered yet")


SESSION = {
    "session_id": 813,
    "study_topic_id": 4,
    "status": "in_progress",
    "source": "live",
    "quiz_mode": "random",
    "wrong_only": False,
    "subject_filter": None,
    "target_per_subject": 2,
    "subject_distribution": {"physics": 1, "chemistry": 1},
    "cursor": 1,
    "created_at": "2026-11-22T00:00:12.219203Z",
    "finished_at": None,
    "voided_at": None,
    "snapshot": None,
    "questions": [
        {
            "ordinal": 0,
            "pub_id": "q-7f3a",
            "subject": "physics",
            "choices": ["joule", "watt", "newton"],
            "answer": ANSWER,
        },
        {"ordinal": 1, "pub_id": "q-19c0", "subject": "chemistry", "choices": ["Ag", "Au"], "answer": None},
    ],
}


class QuizSession(BaseModel):
    """A session and its questions."""

    model_config = with_example(SESSION)

    session_id: int
    study_topic_id: int
    status: Literal["in_progress", "done", "abandoned"]
    source: Source
    quiz_mode: str
    wrong_only: bool
    subject_filter: str | None
    target_per_subject: int
    subject_distribution: dict[str, int] = Field(description="how many questions of each subject")
    cursor: int = Field(
        description="`ordinal` of the first of `questions` without an answer; if none is left, the number of"
        " questions with which the session began"
    )
    created_at: datetime
    finished_at: datetime | None
    voided_at: datetime | None = Field(description="when the session was voided")
    snapshot: Snapshot | None = Field(description="null: still in progress")
    questions: list[AskedQuestion]


class StartedSession(QuizSession):
    """The session in progress: a new one, or the one that was in progress already."""

    model_config = with_example(SESSION, location="address of the session")


class ClosedSession(BaseModel):
    """The result of a closed session."""

    model_config = with_example(
        {
            "session_id": 813,
            "status": "done",
            "finished_at": "2026-11-22T00:12:30.002113Z",
            "snapshot": SNAPSHOT,
            "questions": RESULT["questions"],
        }
    )

    session_id: int
    status: Ended
    finished_at: datetime
    snapshot: Snapshot
    questions: list[QuestionResult] = Field(description="the answered questions, and when each is due next")


class PastSession(BaseModel):
    """A closed session."""

    session_id: int
    study_topic_id: int
    status: Ended
    source: Source
    quiz_mode: str
    created_at: datetime
    finished_at: datetime | None
    voided_at: datetime | None = Field(description="when the session was voided")
    snapshot: Snapshot


class DueReview(BaseModel):
    """A question to review."""

    pub_id: str
    study_topic_id: int
    subject: str
    due: date
    last_answered_at: datetime
    reviews: int
    misses: int


class WrongNote(BaseModel):
    """A question that was missed, or answered right but unsure."""

    pub_id: str
    study_topic_id: int
    subject: str
    retired: bool = Field(description="true: the question is withdrawn, and no new session asks it")
    opened_at: datetime
    closed_at: datetime | None
    misses: int
    miss_streak: int
    due: date


class WeakArea(BaseModel):
    """A learner's results in a subject, without retired questions."""

    subject: str
    questions: int = Field(description="how many questions were answered at least once")
    reviews: int
    misses: int
    accuracy: float = Field(description="right choices ÷ reviews")
    chronic: list[str] = Field(description="`pub_id`s of the questions missed three times in a row or more")
    mean_retrievability: float = Field(description="mean probability of a right answer now")


class WeakAreas(BaseModel):
    """The learner's results by subject in a topic, the least accurate subject first."""

    model_config = with_example(
        {
            "items": [
                {
                    "subject": "chemistry",
                    "questions": 1,
                    "reviews": 4,
                    "misses": 3,
                    "accuracy": 0.25,
                    "chronic": ["q-19c0"],
                    "mean_retrievability": 0.9,
                }
            ]
        }
    )

    items: list[WeakArea]


class Page(BaseModel):
    """A part of a list."""

    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page")


class PastSessions(Page):
    """Closed sessions, the newest id first."""

    model_config = with_example(
        {
            "items": [
                {
                    "session_id": 813,
                    "study_topic_id": 4,
                    "status": "done",
                    "source": "live",
                    "quiz_mode": "random",
                    "created_at": "2026-11-22T00:00:12.219203Z",
                    "finished_at": "2026-11-22T00:12:30.002113Z",
                    "voided_at": None,
                    "snapshot": SNAPSHOT,
                }
            ],
            "next_cursor": "WzgxM10=",
        }
    )

    items: list[PastSession]


class DueReviews(Page):
    """Questions to review, the longest overdue first."""

    model_config = with_example(
        {
            "items": [
                {
                    "pub_id": "q-7f3a",
                    "study_topic_id": 4,
                    "subject": "physics",
                    "due": "2026-11-24",
                    "last_answered_at": "2026-11-22T00:00:41.104417Z",
                    "reviews": 3,
                    "misses": 1,
                }
            ],
            "next_cursor": None,
        }
    )

    items: list[DueReview]


class NamedProgress(Progress):
    """Progress at a question; `pub_id` is the public id of the question's current edition."""

    pub_id: str


class ProgressPage(Page):
    """A learner's progress, in the order of the questions' public ids."""

    model_config = with_example({"items": [PROGRESS | {"pub_id": "q-7f3a"}], "next_cursor": None})

    items: list[NamedProgress]


class WrongNotes(Page):
    """Wrong notes, the most recently opened first."""

    model_config = with_example(
        {
            "items": [
                {
                    "pub_id": "q-19c0",
                    "study_topic_id": 4,
                    "subject": "chemistry",
                    "retired": False,
                    "opened_at": "2026-11-21T23:58:02.661904Z",
                    "closed_at": None,
                    "misses": 3,
                    "miss_streak": 3,
                    "due": "2026-11-23",
                }
            ],
            "next_cursor": None,
        }
    )

    items: list[WrongNote]
