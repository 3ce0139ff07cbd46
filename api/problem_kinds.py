"""Every kind of problem that the API answers with."""

from enum import Enum
from typing import Any


class Kind(Enum):
    """Name a kind of problem: its HTTP status, its title, and what the sender should do."""

    NOT_JSON = 400, "The body is not JSON", "Mend the body before sending it again."
    UNAUTHENTICATED = 401, "The bearer token is missing or unknown", "Send a token that is accepted here."
    NOT_FOUND = 404, "There is nothing at this address", "See /docs for what there is."
    UNKNOWN_UPLOAD = 404, "No upload has this id", "Send the upload, or check the id."
    UNKNOWN_LEARNER = 404, "There is no such learner", "Check the learner's id."
    UNKNOWN_TOPIC = 404, "The learner has no such topic", "Check the topic's id, and whose it is."
    UNKNOWN_SESSION = 404, "The learner has no such quiz session", "Check the session's id, and whose it is."
    METHOD_NOT_ALLOWED = 405, "The method is not known here", "Use a method that `Allow` names."
    CONFLICTING_UPLOAD = 409, "An upload of other content has this id", "Give a new session a new id."
    SESSION_CLOSED = 409, "The quiz session is closed", "Read it again; start another to go on."
    ALREADY_ANSWERED = 409, "The question has another answer", "Read the session again; an answer stands."
    BODY_TOO_LARGE = 413, "The body is too large", "Split the session, or leave fields out."
    UNSUPPORTED_MEDIA_TYPE = 415, "The body must be plain application/json", "Name the type; do not compress."
    INVALID_PAYLOAD = 422, "The payload is not a valid upload", "Mend what `errors` points at."
    INVALID_REQUEST = 422, "The request does not fit its schema", "Mend what `errors` points at."
    NOTHING_TO_ASK = 422, "No question fits", "Ask for less: another subject, or not only wrong ones."
    REJECTED_UPLOAD = 422, "The upload was rejected", "See `reason`; to send the same again changes nothing."
    INTERNAL_ERROR = 500, "Something went wrong here", "Try again later; tell the operator if it goes on."
    INGEST_CLOSED = 503, "Uploads are not accepted at present", "Keep the upload, and try again later."
    LIVE_CLOSED = 503, "The live side is not enabled", "The operator sets STUDY_API_TOKEN."
    STORE_UNAVAILABLE = 503, "Nothing can be stored at present", "Keep the upload, and try again later."

    def __init__(self, status: int, title: str, advice: str) -> None:
        self.status = status
        self.title = title
        self.advice = advice

    @property
    def slug(self) -> str:
        """Return the name as it stands in addresses."""
        return self.name.lower().replace("_", "-")

    @property
    def type(self) -> str:
        """Return the stable `type`: an address that explains it."""
        return f"/problems/{self.slug}"

    def body(self, **members: Any) -> dict[str, Any]:
        """Write a problem of this kind."""
        return {"type": self.type, "title": self.title, "status": self.status} | members

    def explanation(self) -> dict[str, Any]:
        """Tell what the kind means, and what the sender should do."""
        return self.body(advice=self.advice)
