"""One synthetic session on its way through a live system, judged step by step."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from cli.doctor.finding import Finding, fail, ok
from cli.lesson import Progress, read_progress
from cli.local.supervisor import wait_until
from cli.sender import Answer, Sender, Sent
from cli.smoke.synthetic import LEARNER, PUB_ID, left_behind, new_session, one_waits, put_in_place
from cli.stores import Store
from shared.errors import UnknownSessionError
from shared.study.voiding import void_upload

REASON = "synthetic: study-ingest smoke"
DOCTOR = "study-ingest doctor tells which process or store is away"
STRANGER = "set VIEWER_SYNC_TOKEN as the server has it"
ENGINE = "look for another version of a process; then study-ingest verify"


@dataclass(slots=True)
class Trial:
    """A session to send to a server, and the database below it; `patience` in seconds a step."""

    sender: Sender
    store: Store
    patience: float
    uuid: UUID = field(init=False)
    upload: str = field(init=False)
    before: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.uuid, self.upload = new_session()

    def findings(self) -> Iterator[Finding]:
        """Take one step after the other, until one fails."""
        for step in (self.prepare, self.send, self.wait, self.send_again, self.learn, self.void):
            yield (found := step())
            if found.level == "fail":
                return

    def prepare(self) -> Finding:
        """Put the question in place; void what earlier runs left, and what of theirs ends now."""
        put_in_place(self.store)
        # First of all: no process is needed for these, and what still waits may wait for one.
        count = self._void_left()
        if not wait_until(self._none_waits, self.patience):
            return fail("ready", "the synthetic session of an earlier run still waits", DOCTOR)
        count += self._void_left()
        self.before = self._progress()
        voided = f"; {count} sessions of earlier runs voided" if count else ""
        return ok("ready", f"{PUB_ID} is in place, of learner {LEARNER}{voided}")

    def send(self) -> Finding:
        """Send the session."""
        said = f"{self.uuid} is taken in"
        return _judge("sent", self.sender.send(self.upload), Answer.RECEIVED, said)

    def wait(self) -> Finding:
        """Wait until it is final."""
        sent = self.sender.wait(self.upload, time.monotonic() + self.patience)
        return _judge("replayed", sent, Answer.INGESTED, "it is ingested")

    def send_again(self) -> Finding:
        """Send it once more."""
        return _judge("sent again", self.sender.send(self.upload), Answer.ALREADY_INGESTED, "it is known")

    def learn(self) -> Finding:
        """Compare the learner's progress with what it was."""
        reviews = _reviews(self._progress()) - _reviews(self.before)
        if reviews == 1:
            return ok("learned", "progress advanced by one review")
        return fail("learned", f"progress advanced by {reviews} reviews instead of one", ENGINE)

    def void(self) -> Finding:
        """Take the session out of progress again."""
        self.clear()
        if self._progress() == self.before:
            return ok("voided", "progress is as it was")
        return fail("voided", "progress is not as it was", ENGINE)

    def clear(self) -> None:
        """Void what has become of the session, if anything has; else the next run does."""
        with suppress(UnknownSessionError):
            self._void(self.uuid)

    def _none_waits(self) -> bool:
        with self.store.engine.connect() as connection:
            return not one_waits(connection)

    def _void_left(self) -> int:
        with self.store.engine.connect() as connection:
            left = left_behind(connection)
        for uuid in left:
            self._void(uuid)
        return len(left)

    def _void(self, upload: UUID) -> None:
        zone = self.store.default_zone
        void_upload(self.store.engine, upload, reason=REASON, now=datetime.now(UTC), default_zone=zone)

    def _progress(self) -> Progress:
        with self.store.engine.connect() as connection:
            return read_progress(connection, LEARNER)


def _judge(check: str, sent: Sent, wanted: Answer, said: str) -> Finding:
    if sent.answer is wanted:
        return ok(check, said)
    mend = STRANGER if sent.why.startswith("401") else DOCTOR
    return fail(check, f"{sent.answer}{sent.why and ': '}{sent.why}", mend)


def _reviews(progress: Progress) -> int:
    return int(progress[PUB_ID]["reviews"]) if PUB_ID in progress else 0
