"""Models of the bodies of requests, responses and webhooks, with examples.

The routes answer in the form of these models and of those in `api/live_schemas.py`; the OpenAPI document is
generated from both.
"""

from datetime import date, datetime
from typing import Any, Literal, TypeVar, cast
from uuid import UUID

from flask import request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import Kind, Problem, refuse_invalid
from shared import catalog_form
from shared.payload import EXAMPLE_UPLOAD, decode
from shared.uploads import Status

M = TypeVar("M", bound=BaseModel)

# 500 attempts with the longest ids in ASCII take 160 KB; the rest is for unknown fields.
MAX_BODY = 1024 * 1024

EXAMPLE_UUID = EXAMPLE_UPLOAD["client_session_uuid"]
SNAPSHOT = {
    "correct_count": 1,
    "wrong_count": 0,
    "unsure_count": 1,
    "newly_correct_count": 1,
    "recovered_count": 0,
    "relapsed_count": 0,
    "chronic_remaining_count": 0,
}
RESULT = {
    "topics": [{"session_id": 812, "study_topic_id": 4} | SNAPSHOT],
    "attempts": [
        {"pub_id": "q-7f3a", "status": "counted"},
        {"pub_id": "q-19c0", "status": "counted"},
        {"pub_id": "q-gone", "status": "skipped", "reason": "unknown_question"},
    ],
    "questions": [{"pub_id": "q-19c0", "due": "2026-11-23"}, {"pub_id": "q-7f3a", "due": "2026-11-24"}],
}


def with_example(example: dict[str, Any], *, location: str = "") -> ConfigDict:
    """Make a model's configuration for the API's document: an example, and what a `Location` header means."""
    headers = {"Location": {"description": location, "schema": {"type": "string"}}} if location else {}
    extra = {"json_schema_extra": {"example": example}, "openapi_extra": {"headers": headers}}
    return cast("ConfigDict", extra)  # flask-openapi3 reads a key that pydantic does not know


def plain_json_body() -> bytes:
    """Return the request's body; refuse a body that is too large or compressed, or whose type is not JSON."""
    if request.mimetype != "application/json" or request.content_encoding:
        raise Problem(Kind.UNSUPPORTED_MEDIA_TYPE)
    # MAX_CONTENT_LENGTH is not used: with it, werkzeug would read 3 KB through buffers of 64 KB. The server
    # has already read the whole body, and has set `content_length`, also for a body that came in chunks.
    if (request.content_length or 0) > MAX_BODY:
        raise Problem(Kind.BODY_TOO_LARGE)
    return request.get_data(cache=False)


def read_body(model: type[M]) -> M:
    """Read the body of the current request, as strictly as an upload is read."""
    value = decode(plain_json_body())
    try:
        return model.model_validate(value)
    except ValidationError as error:
        refuse_invalid(error)


# Uploads


class Snapshot(BaseModel):
    """A session's counts by outcome and pattern; the four pattern counts never change (docs/learning.md)."""

    correct_count: int
    wrong_count: int
    unsure_count: int
    newly_correct_count: int
    recovered_count: int
    relapsed_count: int
    chronic_remaining_count: int


class TopicResult(Snapshot):
    """The quiz session of one topic of an upload."""

    session_id: int
    study_topic_id: int


class AttemptResult(BaseModel):
    """What became of one attempt of an upload; attempts are in the order of the upload."""

    pub_id: str
    status: Literal["counted", "practice", "skipped"]
    reason: (
        Literal["unknown_question", "invalid_choice", "bad_clock", "mixed_owners", "unknown_learner"] | None
    ) = Field(None, description="why the attempt was skipped")


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
    """The upload is recorded, and does not have to be sent again."""

    model_config = with_example(
        {"status": "received", "client_session_uuid": EXAMPLE_UUID}, location="address of the upload's status"
    )

    status: Literal["received"]
    client_session_uuid: UUID


class AlreadyIngested(BaseModel):
    """The same upload was ingested before."""

    model_config = with_example(
        {"status": "already_ingested", "client_session_uuid": EXAMPLE_UUID, "result": RESULT}
    )

    status: Literal["already_ingested"]
    client_session_uuid: UUID
    result: Result | None


class UploadStatus(BaseModel):
    """The status of an upload."""

    model_config = with_example(
        {
            "client_session_uuid": EXAMPLE_UUID,
            "status": "ingested",
            "received_at": "2026-11-22T00:12:32.104417Z",
            "finalized_at": "2026-11-22T00:12:32.219203Z",
            "tries": 1,
            "voided_at": None,
            "reason": None,
            "result": RESULT,
        }
    )

    client_session_uuid: UUID
    status: Status
    received_at: datetime
    finalized_at: datetime | None
    tries: int
    voided_at: datetime | None = Field(description="when the upload's sessions were taken out of progress")
    reason: str | None = Field(description="why the upload was rejected")
    result: Result | None


class Health(BaseModel):
    """The process is healthy."""

    model_config = with_example({"status": "ok"})

    status: Literal["ok"]


# Webhooks: what shared/webhooks.py sends


class SessionData(BaseModel):
    """The quiz session that a webhook is about."""

    session_id: int
    user_id: int
    study_topic_id: int


class MissesData(SessionData):
    """A quiz session, and its questions whose wrong note is open at the time of sending."""

    pub_ids: list[str] = Field(description="each question's current edition, in the order of the session")


class DeadUploadData(BaseModel):
    """An upload whose tries are exhausted."""

    client_session_uuid: UUID
    tries: int


EXAMPLE_SESSION = {"session_id": 812, "user_id": 7, "study_topic_id": 4}
EXAMPLE_TIME = "2026-11-22T00:12:32.219203+00:00"


class ExplainMissesWebhook(BaseModel):
    """A session is closed: explain its questions whose wrong note is open."""

    model_config = with_example(
        {
            "type": "explain_misses",
            "timestamp": EXAMPLE_TIME,
            "data": EXAMPLE_SESSION | {"pub_ids": ["q-19c0"]},
        }
    )

    type: Literal["explain_misses"]
    timestamp: datetime = Field(
        description="when the session was finalized: for an uploaded one, when it was replayed"
    )
    data: MissesData


class WeakAreasWebhook(BaseModel):
    """A session is closed: its learner's weak areas may have changed."""

    model_config = with_example({"type": "weak_areas", "timestamp": EXAMPLE_TIME, "data": EXAMPLE_SESSION})

    type: Literal["weak_areas"]
    timestamp: datetime = Field(
        description="when the session was finalized: for an uploaded one, when it was replayed"
    )
    data: SessionData


class UploadDeadWebhook(BaseModel):
    """An upload is dead, and waits for an operator."""

    model_config = with_example(
        {
            "type": "upload.dead",
            "timestamp": EXAMPLE_TIME,
            "data": {"client_session_uuid": EXAMPLE_UUID, "tries": 5},
        }
    )

    type: Literal["upload.dead"]
    timestamp: datetime = Field(description="when the upload's tries were exhausted")
    data: DeadUploadData


class NoData(BaseModel):
    """No data: the changes are read from `/study/changes`."""


class ProgressChangedWebhook(BaseModel):
    """Progress has changed: read `/study/changes`."""

    model_config = with_example({"type": "progress.changed", "timestamp": EXAMPLE_TIME, "data": {}})

    type: Literal["progress.changed"]
    timestamp: datetime = Field(description="when the change was noticed")
    data: NoData


# Problems


class Fault(BaseModel):
    """One mistake in a request."""

    pointer: str = Field(
        description="JSON pointer (RFC 6901) into the body, or `/` and the name of a query field; empty: the"
        " whole body"
    )
    detail: str


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(
        description="stable name of the problem, also the path that explains it; `about:blank`: see `status`"
    )
    title: str
    status: int
    detail: str | None = None
    reason: str | None = Field(None, description="why an upload was rejected")
    errors: list[Fault] | None = None


class ProblemExplanation(BaseModel):
    """What a kind of problem means."""

    model_config = with_example(Kind.NOT_JSON.body(advice=Kind.NOT_JSON.advice))

    type: str
    title: str
    status: int
    advice: str = Field(description="what the sender should do")


# Progress


class Progress(BaseModel):
    """A learner's progress at a question; `due` does not consider the date of the topic's exam."""

    stability: float = Field(description="days after which nine of ten such questions are still known")
    difficulty: float = Field(ge=1, le=10)
    due: date
    last_answered_at: datetime = Field(description="time of the newest answer, practice included")
    reviews: int = Field(description="answers that counted")
    misses: int
    miss_streak: int
    correct_streak: int
    wrong_note: Literal["none", "open", "closed"]


PROGRESS = {
    "stability": 8.29,
    "difficulty": 5.31,
    "due": "2026-11-30",
    "last_answered_at": "2026-11-22T00:00:41.104417Z",
    "reviews": 3,
    "misses": 1,
    "miss_streak": 0,
    "correct_streak": 2,
    "wrong_note": "closed",
}


class ChangedQuestion(Progress):
    """Progress at a question; `question_id` is the question's id in the catalog."""

    question_id: int


class ChangedLearner(BaseModel):
    """A learner, and questions whose progress changed."""

    user_id: int
    complete: bool = Field(description="true: first delete all that your copy has of this learner")
    questions: list[ChangedQuestion]


class Changes(BaseModel):
    """Learners whose progress has changed."""

    model_config = with_example(
        {
            "learners": [
                {"user_id": 7, "complete": False, "questions": [PROGRESS | {"question_id": 701}]},
            ],
            "next": "b2d71e04-81530",
            "more": False,
        }
    )

    learners: list[ChangedLearner]
    next: str = Field(description="`after` of the next request; keep it with your copy")
    more: bool = Field(description="true: there may be more changes, so request again at once")


# The catalog


class ChangedEdition(BaseModel):
    """What a load changes in a stored edition, and the numbers of its attempts and of their learners."""

    pub_id: str
    changes: list[Literal["texts", "order", "key", "owner", "question"]]
    attempts: int
    learners: int
    asked: int = Field(
        description="live sessions that are asking the question, if a choice gets another place"
    )


class LoadedCatalog(BaseModel):
    """The counts of a loaded catalog, and its changes to stored editions."""

    model_config = with_example(
        {
            "learners": 1,
            "topics": 1,
            "questions": 2,
            "editions": 3,
            "changes": [{"pub_id": "q-7f3a", "changes": ["key"], "attempts": 12, "learners": 1, "asked": 0}],
            "digests": [{"topic_id": 70, "questions": 2, "digest": "9f86d081884c7d65"}],
        }
    )

    learners: int
    topics: int
    questions: int
    editions: int
    changes: list[ChangedEdition]
    digests: list["TopicDigest"] = Field(
        description="the topics' new digests if `If-Match` was sent, else none"
    )


class TopicDigest(BaseModel):
    """A topic, the number of its questions that are not retired, and a digest (docs/adopting.md)."""

    topic_id: int
    questions: int
    digest: str


class Digests(BaseModel):
    """A page of topics, in the order of their ids; after the last topic comes an empty page.

    A question is retired if its `retired_at` is `now` or earlier.
    """

    model_config = with_example(
        {
            "now": "2026-11-22T09:00:41Z",
            "topics": [{"topic_id": 70, "questions": 2, "digest": "9f86d081884c7d65"}],
        }
    )

    now: datetime = Field(description="the time of the database's clock")
    topics: list[TopicDigest]


class QuestionIds(BaseModel):
    """The ids of a topic's questions: in a response those not retired, in a request those to keep."""

    model_config = ConfigDict(strict=True) | with_example({"ids": [701, 702]})

    ids: list[catalog_form.Id]


class Withdrawn(BaseModel):
    """How many questions were deleted, and how many retired because they have answers or are being asked."""

    model_config = with_example({"deleted": 0, "retired": 1})

    deleted: int
    retired: int


class DeletedLearner(BaseModel):
    """How many rows and spool entries were deleted; uploads and conflicts only lost their payloads."""

    model_config = with_example(
        {"sessions": 40, "attempts": 700, "progress": 310, "uploads": 36, "conflicts": 0, "spooled": 0}
    )

    sessions: int
    attempts: int
    progress: int
    uploads: int
    conflicts: int
    spooled: int
