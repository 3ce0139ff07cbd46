"""The JSON that the API answers with."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from shared.uploads import Status

EXAMPLE_UUID = "6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11"

UPLOAD = {
    "client_session_uuid": EXAMPLE_UUID,
    "started_at": "2026-11-22T09:00:00+09:00",
    "finished_at": "2026-11-22T09:12:30+09:00",
    "sent_at": "2026-11-22T09:12:31+09:00",
    "attempts": [
        {"pub_id": "q-7f3a", "selected": 2, "unsure": False, "answered_at": "2026-11-22T09:00:41+09:00"},
        {"pub_id": "q-19c0", "selected": None, "unsure": True, "answered_at": "2026-11-22T09:01:55+09:00"},
        {"pub_id": "q-gone", "selected": 0, "unsure": False, "answered_at": "2026-11-22T09:02:20+09:00"},
    ],
}

RESULT = {
    "topics": [
        {
            "session_id": 812,
            "study_topic_id": 4,
            "correct_count": 1,
            "wrong_count": 0,
            "unsure_count": 1,
            "newly_correct_count": 1,
            "recovered_count": 0,
            "relapsed_count": 0,
            "chronic_remaining_count": 0,
        }
    ],
    "attempts": [
        {"pub_id": "q-7f3a", "status": "counted"},
        {"pub_id": "q-19c0", "status": "counted"},
        {"pub_id": "q-gone", "status": "skipped", "reason": "unknown_question"},
    ],
    "questions": [{"pub_id": "q-19c0", "due": "2026-11-23"}, {"pub_id": "q-7f3a", "due": "2026-11-24"}],
}

RECEIVED = {"status": "received", "client_session_uuid": EXAMPLE_UUID}

ALREADY_INGESTED = {"status": "already_ingested", "client_session_uuid": EXAMPLE_UUID, "result": RESULT}

STANDING = {
    "client_session_uuid": EXAMPLE_UUID,
    "status": "ingested",
    "received_at": "2026-11-22T00:12:32.104417+00:00",
    "finalized_at": "2026-11-22T00:12:32.219203+00:00",
    "tries": 1,
    "voided_at": None,
    "reason": None,
    "result": RESULT,
}


class TopicResult(BaseModel):
    """The quiz session that an upload left in one topic."""

    session_id: int
    study_topic_id: int
    correct_count: int
    wrong_count: int
    unsure_count: int
    newly_correct_count: int
    recovered_count: int
    relapsed_count: int
    chronic_remaining_count: int


class AttemptResult(BaseModel):
    """What became of an attempt, in the order of the upload."""

    pub_id: str
    status: Literal["counted", "practice", "skipped"]
    reason: Literal["unknown_question", "invalid_choice", "bad_clock"] | None = Field(
        None, description="why it was skipped"
    )


class QuestionResult(BaseModel):
    """When a question is due next."""

    pub_id: str
    due: date


class Result(BaseModel):
    """What became of an upload."""

    topics: list[TopicResult]
    attempts: list[AttemptResult]
    questions: list[QuestionResult]


class Received(BaseModel):
    """The upload is kept; nobody need send it again."""

    status: Literal["received"]
    client_session_uuid: UUID


class AlreadyIngested(BaseModel):
    """The same upload has been worked off before."""

    status: Literal["already_ingested"]
    client_session_uuid: UUID
    result: Result | None


class Standing(BaseModel):
    """Where an upload stands."""

    client_session_uuid: UUID
    status: Status
    received_at: datetime
    finalized_at: datetime | None
    tries: int
    voided_at: datetime | None = Field(description="when its sessions were taken out of progress")
    reason: str | None = Field(description="why it was rejected")
    result: Result | None


class Health(BaseModel):
    """The process is well."""

    status: Literal["ok"]


class Fault(BaseModel):
    """One thing wrong with a payload."""

    pointer: str = Field(description="JSON pointer (RFC 6901), or a query field; empty: the whole")
    detail: str


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="stable; an address that explains it")
    title: str
    status: int
    detail: str | None = None
    reason: str | None = Field(None, description="why an upload was rejected")
    errors: list[Fault] | None = None


class ProblemKind(BaseModel):
    """A kind of problem."""

    type: str
    title: str
    status: int
    advice: str = Field(description="what the sender should do")


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


START = {"study_topic_id": 4, "quiz_mode": "random", "target_per_subject": 2}

SUBMISSION = {"pub_id": "q-7f3a", "selected": 2, "unsure": False}

GIVEN = {
    "selected": 2,
    "unsure": False,
    "outcome": "correct",
    "answered_at": "2026-11-22T00:00:41.104417+00:00",
}

RECORDED = {"pub_id": "q-7f3a", "ordinal": 0} | GIVEN

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
    "created_at": "2026-11-22T00:00:12.219203+00:00",
    "finished_at": None,
    "voided_at": None,
    "snapshot": None,
    "questions": [
        {
            "ordinal": 0,
            "pub_id": "q-7f3a",
            "subject": "physics",
            "choices": ["joule", "watt", "newton"],
            "answer": GIVEN,
        },
        {
            "ordinal": 1,
            "pub_id": "q-19c0",
            "subject": "chemistry",
            "choices": ["Ag", "Au"],
            "answer": None,
        },
    ],
}

VOIDED = SESSION | {"status": "abandoned", "voided_at": "2026-11-22T00:20:00.771902+00:00"}

SNAPSHOT = {
    "correct_count": 1,
    "wrong_count": 0,
    "unsure_count": 0,
    "newly_correct_count": 1,
    "recovered_count": 0,
    "relapsed_count": 0,
    "chronic_remaining_count": 0,
}

CLOSED = {
    "session_id": 813,
    "status": "done",
    "finished_at": "2026-11-22T00:12:30.002113+00:00",
    "snapshot": SNAPSHOT,
    "questions": [{"pub_id": "q-7f3a", "due": "2026-11-24"}],
}

PAST = {
    "items": [
        {
            "session_id": 813,
            "study_topic_id": 4,
            "status": "done",
            "source": "live",
            "quiz_mode": "random",
            "created_at": "2026-11-22T00:00:12.219203+00:00",
            "finished_at": "2026-11-22T00:12:30.002113+00:00",
            "voided_at": None,
            "snapshot": SNAPSHOT,
        }
    ],
    "next_cursor": "WzgxM10=",
}

DUE = {
    "items": [
        {
            "pub_id": "q-7f3a",
            "study_topic_id": 4,
            "subject": "physics",
            "due": "2026-11-24",
            "last_reviewed_at": "2026-11-22T00:00:41.104417+00:00",
            "reviews": 3,
            "misses": 1,
        }
    ],
    "next_cursor": None,
}

NOTES = {
    "items": [
        {
            "pub_id": "q-19c0",
            "study_topic_id": 4,
            "subject": "chemistry",
            "retired": False,
            "opened_at": "2026-11-21T23:58:02.661904+00:00",
            "closed_at": None,
            "misses": 3,
            "miss_streak": 3,
            "due": "2026-11-23",
        }
    ],
    "next_cursor": None,
}

WEAK = {
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
