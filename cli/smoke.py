"""One synthetic session on its way through a live system, judged step by step."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan
from uuid import UUID, uuid4

import click
from sqlalchemy import Connection, text

from cli.client import Answer, Sender, Sent
from cli.context import Store, with_store
from cli.demo import Progress, read_progress
from cli.doctor import Finding, fail, line, ok
from cli.local.supervisor import wait_until
from shared.catalog import resolve
from shared.catalog_admin import CatalogFile, CatalogQuestion, CatalogTopic, CatalogUser, load_catalog
from shared.errors import ConfigurationError, UnknownSessionError
from shared.study.voiding import void_upload

# The largest id there is: catalogs count from one.
LEARNER = TOPIC = QUESTION = 2**63 - 1
PUB_ID = "study-ingest-smoke"
NAME = "synthetic: study-ingest smoke"
CHOICES = ["wrong", "right"]
RIGHT = 1
# Half of the uuid is fixed, so that people see it and an index finds it; who draws uuids never draws this.
PREFIX = "0000000000004000"
FIRST, LAST = UUID(PREFIX + "0" * 16), UUID(PREFIX + "f" * 16)

CATALOG = CatalogFile(
    users=[CatalogUser(id=LEARNER)],
    topics=[CatalogTopic(id=TOPIC, user_id=LEARNER, name=NAME)],
    questions=[
        CatalogQuestion(
            id=QUESTION,
            pub_id=PUB_ID,
            user_id=LEARNER,
            study_topic_id=TOPIC,
            subject=NAME,
            choices=CHOICES,
            correct_choice=RIGHT,
        )
    ],
)

_WAITING = text("""
    SELECT EXISTS (SELECT FROM uploads
        WHERE client_session_uuid BETWEEN :first AND :last AND status = 'received')
""")


_LEFT = text("""
    SELECT DISTINCT CAST(client_session_uuid AS uuid) FROM study_quiz_sessions
    WHERE user_id = :learner AND voided_at IS NULL AND superseded_at IS NULL
""")


def put_in_place(store: Store) -> None:
    """Load the question unless it is there: to load anything holds every learner up for a moment."""
    with store.engine.begin() as connection:
        if not resolve(connection, {PUB_ID}):
            load_catalog(connection, CATALOG, default_zone=store.default_zone)


def one_waits(connection: Connection) -> bool:
    """Tell whether a synthetic session of an earlier run is still to be replayed."""
    return bool(connection.scalar(_WAITING, {"first": FIRST, "last": LAST}))


def left_behind(connection: Connection) -> list[UUID]:
    """Return the synthetic sessions that were replayed after their run had given up."""
    return list(connection.scalars(_LEFT, {"learner": LEARNER}))


def new_session() -> tuple[UUID, str]:
    """Answer the question now, rightly; return the upload's uuid and its JSON text."""
    uuid, now = UUID(PREFIX + uuid4().hex[16:]), datetime.now(UTC).isoformat()
    attempt = {"pub_id": PUB_ID, "selected": RIGHT, "unsure": False, "answered_at": now}
    return uuid, json.dumps({"client_session_uuid": str(uuid), "attempts": [attempt]})


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
        now, zone = datetime.now(UTC), self.store.default_zone
        with self.store.engine.begin() as connection:
            void_upload(connection, upload, reason=REASON, now=now, default_zone=zone)

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


LONGEST_PATIENCE_S = 3600


def _comparable(_: click.Context, option: click.Parameter, seconds: float) -> float:
    if isnan(seconds):
        raise click.BadParameter("must be a number of seconds", param=option)
    return seconds


@click.command()
@click.option("--url", help="The server.  [default: API_URL, or that of a running `up`]")
@click.option(
    "--patience",
    type=click.FloatRange(0, LONGEST_PATIENCE_S, min_open=True),
    callback=_comparable,
    default=60.0,
    show_default=True,
    help="Longest wait for the session to be replayed, in seconds.",
)
@with_store
def smoke(*, url: str | None, patience: float, store: Store) -> None:
    """Send a synthetic session twice, see that it is learned from once, and void it. Exit 1 if not.

    Needs VIEWER_SYNC_TOKEN and DATABASE_URL, as the server has them. Safe to run on a live system.
    """
    token = _needed("VIEWER_SYNC_TOKEN").split(",")[0].strip()
    with Sender(url or _needed("API_URL"), token) as sender:
        trial = Trial(sender, store, patience)
        try:
            sound = _tell(trial)
        finally:
            trial.clear()
    if not sound:
        raise click.exceptions.Exit(1)


def _tell(trial: Trial) -> bool:
    """Print what each step finds; tell whether none failed."""
    sound = True
    for found in trial.findings():
        click.echo(line(found))
        sound = sound and found.level != "fail"
    return sound


def _needed(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ConfigurationError(f"{name}: set it as the server has it")
