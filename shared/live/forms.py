"""The request bodies of the front end, validated strictly."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from shared.payload import MAX_SUBJECT, Choice, Integer, PubId

BIGINT = 2**63
RESERVED = "wrong_variants"
# Also the limit of attempts in an upload.
MAX_QUESTIONS = 500

QuizMode = Literal["random", "frequent_focus", "due"]
# Postgres cannot store NUL in a text.
STORABLE = r"^[^\x00]*$"


def _not_reserved(mode: Any) -> Any:
    if mode == RESERVED:
        raise PydanticCustomError("reserved", "wrong_variants is reserved: no session has this mode yet")
    return mode


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class SessionStart(_Form):
    """Which questions a session should ask."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"study_topic_id": 4, "quiz_mode": "random", "target_per_subject": 2}}
    )

    study_topic_id: Integer = Field(ge=0, lt=BIGINT)
    quiz_mode: Annotated[QuizMode, BeforeValidator(_not_reserved)] = Field(
        "random",
        description="`frequent_focus`: first the questions that exams ask often and the learner may miss now;"
        " `due`: due questions, the longest overdue first, then new ones",
    )
    wrong_only: bool = Field(default=False, description="only questions whose wrong note is open")
    subject_filter: str | None = Field(
        None, min_length=1, max_length=MAX_SUBJECT, pattern=STORABLE, description="only this subject"
    )
    target_per_subject: Integer = Field(20, ge=1, le=100, description="limit of questions of one subject")
    new_per_session: Integer = Field(
        10, ge=0, le=100, description="limit of new questions in a `due` session"
    )


class Submission(_Form):
    """An answer to a question of the session."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"pub_id": "q-7f3a", "selected": 2, "unsure": False}}
    )

    pub_id: PubId
    selected: Choice | None = Field(description="0-based index of the choice; null: none was made")
    unsure: bool = Field(description="the learner marked the answer as unsure")
