"""`smoke`: send one synthetic session to a running system, and check each step."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan
from typing import Any
from uuid import UUID, uuid4

import click
from sqlalchemy import text

from cli import client, doctor, remote
from cli.context import Store, with_store
from cli.local.supervisor import wait_until
from shared import attempts, db
from shared.catalog_admin import load_catalog
from shared.catalog_form import CatalogFile
from shared.errors import ConfigurationError, UnknownSessionError
from shared.ops.actions import void_upload
from shared.study.store import list_progress

# The largest possible id, which no catalog uses.
LEARNER = TOPIC = QUESTION = 2**63 - 1
PUB_ID = "study-ingest-smoke"
NAME = "synthetic: study-ingest smoke"
RIGHT = 1
# The first half of the uuid is fixed: people recognise it, an index finds it, and no random uuid has it.
PREFIX = "0000000000004000"
FIRST, LAST = UUID(PREFIX + "0" * 16), UUID(PREFIX + "f" * 16)
CATALOG = CatalogFile.model_validate(
    {
        "users": [{"id": LEARNER, "time_zone": "UTC"}],
        "topics": [{"id": TOPIC, "user_id": LEARNER, "name": NAME}],
        "questions": [
            {
                "id": QUESTION,
                "pub_id": PUB_ID,
                "user_id": LEARNER,
                "study_topic_id": TOPIC,
                "subject": NAME,
                "choices": ["wrong", "right"],
                "correct_choice": RIGHT,
            }
        ],
    }
)
MAX_PATIENCE_S = 3600
FIX_PROCESS = "run study-ingest doctor: it names the process or store that is away"
FIX_TOKEN = "set VIEWER_SYNC_TOKEN as on the server"  # noqa: S105  # a sentence
FIX_ENGINE = "check that every process runs this version, then run study-ingest verify"

_WAITING = text("""
    SELECT EXISTS (SELECT FROM uploads
        WHERE client_session_uuid BETWEEN :first AND :last AND status = 'received')
""")

_NOT_VOIDED = text("""
    SELECT DISTINCT CAST(client_session_uuid AS uuid) FROM study_quiz_sessions
    WHERE user_id = :learner AND voided_at IS NULL AND superseded_at IS NULL
""")


def _reject_nan(_: click.Context, option: click.Parameter, seconds: float) -> float:
    if isnan(seconds):
        raise click.BadParameter("must be a number of seconds", param=option)
    return seconds


@click.command()
@click.option("--url", help="The server.  [default: API_URL, or the server of a running `up`]")
@click.option(
    "--patience",
    type=click.FloatRange(0, MAX_PATIENCE_S, min_open=True),
    callback=_reject_nan,
    default=60.0,
    show_default=True,
    help="Longest wait for each replay, in seconds.",
)
@with_store
def smoke(*, url: str | None, patience: float, store: Store) -> None:
    """Send a synthetic session twice, check that it counts once, and void it. Exit 1 if a check fails.

    VIEWER_SYNC_TOKEN and DATABASE_URL must be set as on the server, unless the server is a running `up`. Safe
    to run in production.
    """
    failed = False
    with client.Sender(
        url or _setting("API_URL"), remote.first_token(_setting("VIEWER_SYNC_TOKEN"))
    ) as sender:
        run = SmokeRun(sender, store, patience)
        try:
            for finding in run.findings():
                click.echo(doctor.line(finding))
                failed = failed or finding.level == "fail"
        finally:
            run.void_own()
    if failed:
        raise click.exceptions.Exit(1)


def _setting(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ConfigurationError(f"{name} is missing: set it to the value of the server that you want to check")


@dataclass(slots=True)
class SmokeRun:
    """A session to send to a server, and the server's database; `patience`: longest wait of a step, in s."""

    sender: client.Sender
    store: Store
    patience: float
    uuid: UUID = field(init=False)
    upload: str = field(init=False)
    before: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.uuid, self.upload = new_session()

    def findings(self) -> Iterator[doctor.Finding]:
        """Run the steps in order, until one fails."""
        answer = client.Answer
        for step in (
            self._prepare,
            lambda: self._send("sent", answer.RECEIVED, f"{self.uuid} is received"),
            self._wait,
            lambda: self._send("sent again", answer.ALREADY_INGESTED, "the session is known"),
            self._compare,
            self._void,
        ):
            yield (finding := step())
            if finding.level == "fail":
                return

    def void_own(self) -> None:
        """Void the session if it was replayed; if it still waits, the next run voids it."""
        with suppress(UnknownSessionError):
            self._void_upload(self.uuid)

    def _prepare(self) -> doctor.Finding:
        """Load the question; wait until the sessions of earlier runs are replayed, and void them."""
        with self.store.engine.begin() as connection:
            # Only if needed: changes of the catalog wait for each other.
            if not attempts.load_questions(connection, {PUB_ID}):
                load_catalog(connection, CATALOG)
        count = self._void_earlier()
        if not wait_until(self._none_waits, self.patience):
            return doctor.fail("ready", "the synthetic session of an earlier run still waits", FIX_PROCESS)
        count += self._void_earlier()
        self.before = self._progress()
        voided = f"; {count} sessions of earlier runs voided" if count else ""
        return doctor.ok("ready", f"question {PUB_ID} of learner {LEARNER} is loaded{voided}")

    def _send(self, check: str, expected: client.Answer, detail: str) -> doctor.Finding:
        return _judge(check, self.sender.send(self.upload), expected, detail)

    def _wait(self) -> doctor.Finding:
        sent = self.sender.wait(self.upload, time.monotonic() + self.patience)
        return _judge("replayed", sent, client.Answer.INGESTED, "the session is ingested")

    def _compare(self) -> doctor.Finding:
        before, after = (sum(each["reviews"] for each in known) for known in (self.before, self._progress()))
        if after - before == 1:
            return doctor.ok("learned", "progress advanced by one review")
        return doctor.fail(
            "learned", f"progress advanced by {after - before} reviews instead of one", FIX_ENGINE
        )

    def _void(self) -> doctor.Finding:
        self.void_own()
        if self._progress() == self.before:
            return doctor.ok("voided", "progress is as it was")
        return doctor.fail("voided", "progress is not as it was", FIX_ENGINE)

    def _none_waits(self) -> bool:
        with self.store.engine.connect() as connection:
            return not db.scalar(connection, _WAITING, {"first": FIRST, "last": LAST})

    def _void_earlier(self) -> int:
        """Void the replayed sessions of earlier runs that are not void yet; return how many."""
        with self.store.engine.connect() as connection:
            uuids = db.scalars(connection, _NOT_VOIDED, {"learner": LEARNER})
        for uuid in uuids:
            self._void_upload(uuid)
        return len(uuids)

    def _void_upload(self, uuid: UUID) -> None:
        with self.store.engine.begin() as connection:
            void_upload(connection, uuid, reason=NAME)

    def _progress(self) -> list[dict[str, Any]]:
        with self.store.engine.connect() as connection:
            return list(list_progress(connection, LEARNER))


def new_session() -> tuple[UUID, str]:
    """Make an upload with the right answer to the question; return its uuid and its JSON text."""
    uuid, now = UUID(PREFIX + uuid4().hex[16:]), datetime.now(UTC).isoformat()
    attempt = {"pub_id": PUB_ID, "selected": RIGHT, "unsure": False, "answered_at": now}
    return uuid, json.dumps({"client_session_uuid": str(uuid), "attempts": [attempt]})


def _judge(check: str, sent: client.Sent, expected: client.Answer, detail: str) -> doctor.Finding:
    if sent.answer is expected:
        return doctor.ok(check, detail)
    fix = FIX_TOKEN if sent.why.startswith("401") else FIX_PROCESS
    return doctor.fail(check, f"{sent.answer}{sent.why and ': '}{sent.why}", fix)
