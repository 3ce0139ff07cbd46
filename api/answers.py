"""The JSON that the API answers with."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from shared.uploads import Status


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
