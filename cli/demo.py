"""`demo`: start everything, send a sample of sessions, and show and check what was learned from them."""

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from fsrs import Rating
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from sqlalchemy import Engine, text

from cli import client, remote, sample
from cli.context import COUNTS, readable_errors
from cli.local import up
from cli.local.places import DEFAULT_DIRECTORY, TRAVERSABLE
from shared import db
from shared.catalog_admin import load_catalog
from shared.catalog_form import CatalogFile
from shared.config import StoreSettings
from shared.errors import StudyIngestError
from shared.study.finalize import verify
from shared.study.store import list_progress

LOGS = "logs"
LEARNER = up.SAMPLE_LEARNER
LIVE, VIEWER = 43, 44  # two more learners, with the sample's questions
QUESTION = "geo-capital-canada"  # repeated in the session; not correct in earlier sessions: newly correct
OLD_EDITION = "sci-unit-of-force"  # the edition that the viewer had; there is a newer one now
UNSURE, UNSURE_DUE = "geo-highest-mountain", "2026-11-23"  # half of the six days since the previous answer
QUESTIONS_PER_SUBJECT = 2  # enough for a short live session
WAIT_S = 60.0  # workers that have just started take a few seconds
INDENT = 3
STABILITY = "stability: days after which nine of ten such questions are still known"
COLOURS = {"correct": "green", "wrong": "red", "unsure": "yellow", "unsure, but right": "yellow"}

Progress = dict[str, dict[str, Any]]  # by public id: a line of `study-ingest progress`

_GRADES = text("""
    SELECT a.ordinal, a.outcome, a.rating
    FROM study_quiz_sessions s
    JOIN study_question_attempts a ON a.user_id = s.user_id AND a.study_quiz_session_id = s.id
    WHERE s.client_session_uuid = :uuid AND s.superseded_at IS NULL
""")


class DemoFailedError(StudyIngestError):
    """A step or a check of the demo failed."""


@click.command()
@click.option("--once", is_flag=True, help="Exit at the end; with --data-dir, the logs stay.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="STUDY_INGEST_DATA_DIR",
    help=f"Data directory, as for `up`.  [default: {DEFAULT_DIRECTORY}; with --once a temporary one]",
)
@click.option(
    "--port",
    type=up.PORT,
    help=f"0: any free port.  [default: {up.USUAL_PORT}; with --once any free port]",
)
def demo(*, once: bool, data_dir: Path | None, port: int | None) -> None:
    """Start everything, send a sample of sessions, and show what was learned; then keep running.

    Each step is checked; exit 1 if a check fails. Safe to run again.
    """
    console = Console(highlight=False)
    with ExitStack() as cleanup:
        if once and not data_dir:
            data_dir = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="study-ingest-demo-")))
            data_dir.chmod(TRAVERSABLE)
        home = data_dir or DEFAULT_DIRECTORY
        if port is None:
            port = 0 if once else up.USUAL_PORT
        with console.status("starting Postgres, Valkey and every process"):
            system = cleanup.enter_context(up.running(home, port, logs=home / LOGS))
        console.print(f"Everything runs; the logs are in {home / LOGS}", markup=False, soft_wrap=True)
        settings = StoreSettings(database_url=system.environment["DATABASE_URL"])
        engine = db.make_engine(settings)
        cleanup.callback(engine.dispose)
        sender = client.Sender(
            system.environment["API_URL"], remote.first_token(system.environment["VIEWER_SYNC_TOKEN"])
        )
        cleanup.enter_context(sender)
        study_token = remote.first_token(system.environment["STUDY_API_TOKEN"])
        try:
            with readable_errors():
                Demo(sender, study_token, engine, console).run()
        except DemoFailedError:
            system.processes.check()  # if a process has ended, report that instead
            raise
        console.print("\n[bold]All checks passed.[/]")
        if not once:
            words = _closing_words(system.environment, home, system.sign_in_link())
            console.print(words, markup=False, soft_wrap=True)
            with suppress(KeyboardInterrupt):
                system.keep()


@dataclass(frozen=True, slots=True)
class Demo:
    """The steps of the demo, on a running system and its database; each step prints to the console."""

    sender: client.Sender
    study_token: str
    engine: Engine
    console: Console

    def run(self) -> None:
        """Run every step; raise DemoFailedError if a check fails."""
        steps = {
            "The catalog is loaded": self.load_the_catalog,
            "Sessions of the weeks before": self.send_earlier_sessions,
            "One session, solved offline": self.send_the_session,
            "The same session again": self.send_it_again,
            "The same answers, live and uploaded": self.compare_live_and_uploaded,
            "The check": self.verify_everything,
        }
        for number, (title, step) in enumerate(steps.items(), start=1):
            self.console.print(f"\n[bold]{number}. {title}[/]")
            step()

    def load_the_catalog(self) -> None:
        catalog = sample.read_catalog()
        self._load(catalog)
        topics = ", ".join(topic.name for topic in catalog.topics)
        self._print(f"{len(catalog.questions)} questions of learner {LEARNER}: {topics}")

    def send_earlier_sessions(self) -> None:
        uploads = sample.earlier_uploads()
        self._print(f"{len(uploads)} sessions, sent newest first: any order gives the same progress")
        for upload in reversed(uploads):
            self._send(upload)
        self._check("all sessions are ingested", holds=True)

    def send_the_session(self) -> None:
        upload = json.loads(sample.main_upload())
        self._print(f"{len(upload['attempts'])} answers, given offline on {upload['started_at'][:10]}")
        past = datetime.fromisoformat(upload["finished_at"]) < datetime.now(UTC)
        self._check(
            "by this machine's clock all answers are in the past, so that no time is corrected", holds=past
        )
        before = self._progress(LEARNER)
        is_new = self._send(sample.main_upload()) is client.Answer.INGESTED
        if is_new:
            self._check("the session is received and ingested", holds=True)
        else:
            self._print("[yellow]an earlier run of the demo sent this session: it counts once[/]")
        after = self._progress(LEARNER)
        result = self.sender.status(upload["client_session_uuid"])["result"]
        with self.engine.connect() as connection:
            rows = db.execute(connection, _GRADES, {"uuid": upload["client_session_uuid"]})
            outcomes = {
                ordinal: "unsure, but right" if outcome == "unsure" and rating != Rating.Again else outcome
                for ordinal, outcome, rating in rows
            }
        for table in (_attempts_table(result["attempts"], outcomes, before, after), _topics_table(result)):
            self.console.print(Padding(table, (1, 0, 0, INDENT), expand=False))
        self.console.print()
        every = all(any(topic[count] for topic in result["topics"]) for count in COUNTS)
        self._check("every outcome and every pattern occurs", holds=every)
        advanced = {
            pub_id: now["reviews"] - before.get(pub_id, {"reviews": 0})["reviews"]
            for pub_id, now in after.items()
            if now != before.get(pub_id)
        }
        if not is_new:
            self._check("no progress changed", holds=not advanced)
            return
        current = sample.current_editions()
        counted = [current[each["pub_id"]] for each in result["attempts"] if each["status"] == "counted"]
        self._check(
            "each counted answer advanced its question by one review, and nothing else changed",
            holds=advanced == dict.fromkeys(counted, 1),
        )
        sent = [each["pub_id"] for each in upload["attempts"]]
        by_old_key = outcomes[sent.index(OLD_EDITION)] == "correct" and current[OLD_EDITION] != OLD_EDITION
        self._check("an answer to an older edition is graded by that edition's key", holds=by_old_key)
        due, stable = after[UNSURE]["due"], f"{after[UNSURE]['stability']:.0f} days"
        soon = f"right but unsure: the question {UNSURE} comes back soon, on {due}, stability {stable}"
        self._check(soon, holds=due == UNSURE_DUE)
        repeated = upload["attempts"][-1]
        last = datetime.fromisoformat(after[QUESTION]["last_answered_at"])
        practised = repeated["pub_id"] == QUESTION and last == datetime.fromisoformat(repeated["answered_at"])
        self._check("practice changed the memory state of its question, and no count", holds=practised)

    def send_it_again(self) -> None:
        before = self._progress(LEARNER)
        self._print("the server's answer was lost, so the viewer sends the same upload once more")
        known = self.sender.send(sample.main_upload()).answer is client.Answer.ALREADY_INGESTED
        self._check("the server answers already_ingested", holds=known)
        self._check("no progress changed", holds=self._progress(LEARNER) == before)

    def compare_live_and_uploaded(self) -> None:
        for learner in (LIVE, VIEWER):
            self._load(sample.catalog_of(learner))
        sessions = f"/study/users/{LIVE}/sessions"
        request = {"study_topic_id": LIVE, "target_per_subject": QUESTIONS_PER_SUBJECT}
        session = self._study("POST", sessions, request)
        path = f"{sessions}/{session['session_id']}"
        for number, question in enumerate(session["questions"]):
            # Use each choice in turn, then no choice; be sure or unsure.
            choice = number % (len(question["choices"]) + 1)
            selected = choice if choice < len(question["choices"]) else None
            attempt = {"pub_id": question["pub_id"], "selected": selected, "unsure": number % 3 == 0}
            self._study("POST", f"{path}/attempts", attempt)
        self._study("POST", f"{path}/finalize")
        live = self._study("GET", path)
        self._print(
            f"{len(live['questions'])} questions answered live, one by one; the same answers in one upload"
        )
        upload = sample.upload_of(live, LIVE, VIEWER)
        self._send(json.dumps(upload))
        (topic,) = self.sender.status(upload["client_session_uuid"])["result"]["topics"]
        same = {name: topic[name] for name in live["snapshot"]} == live["snapshot"]
        self._check("both sessions have the same counts", holds=same)
        of_live, of_viewer = (
            [line | {"pub_id": None} for line in self._progress(learner).values()]
            for learner in (LIVE, VIEWER)
        )
        self._check("both learners have the same progress, to the last digit", holds=of_live == of_viewer)

    def verify_everything(self) -> None:
        self._print("every learner's attempts are folded again, and compared with the stored progress")
        checked = verify(self.engine)
        differences = sum(len(each.differing) for each in checked)
        self._check(f"{differences} differences", holds=not differences)

    def _load(self, catalog: CatalogFile) -> None:
        with self.engine.begin() as connection:
            load_catalog(connection, catalog)

    def _send(self, upload: str) -> client.Answer:
        """Send an upload and wait until it is ingested."""
        sent = self.sender.send(upload)
        if sent.answer is client.Answer.RECEIVED:
            sent = self.sender.wait(upload, time.monotonic() + WAIT_S)
        if sent.answer not in {client.Answer.INGESTED, client.Answer.ALREADY_INGESTED}:
            why = f": {sent.why}" if sent.why else ""
            raise DemoFailedError(f"the answer to an upload is `{sent.answer}` instead of `ingested`{why}")
        return sent.answer

    def _study(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to the live side."""
        headers = {"Authorization": f"Bearer {self.study_token}"}
        response = self.sender.http.request(method, path, json=body, headers=headers)
        if not response.is_success:
            raise DemoFailedError(f"{method} {path} returned {response.status_code}")
        return response.json()

    def _progress(self, user_id: int) -> Progress:
        with self.engine.connect() as connection:
            return {line["pub_id"]: line for line in list_progress(connection, user_id)}

    def _print(self, line: str) -> None:
        self.console.print(" " * INDENT + line, soft_wrap=True)

    def _check(self, what: str, *, holds: bool) -> None:
        if not holds:
            raise DemoFailedError(f"this check failed: {what}")
        self._print(f"[green]✓[/] {what}")


def _attempts_table(
    attempts: list[dict[str, Any]], outcomes: Mapping[int, str], before: Progress, after: Progress
) -> Table:
    """Show what became of each attempt, and how its question's progress changed."""
    table = _table("question", "outcome", caption=STABILITY, caption_justify="left")
    table.add_column("stability (d)", justify="right")
    table.add_column("next due")
    current = sample.current_editions()
    for ordinal, attempt in enumerate(attempts):
        pub_id, status = attempt["pub_id"], attempt["status"]
        outcome, key = outcomes.get(ordinal), current.get(pub_id, "")
        if not outcome or status != "counted":
            table.add_row(pub_id, f"{status}: {outcome or 'unknown'}", style="dim")
            continue
        cells = ["", ""]  # empty if the upload's sessions were voided later
        if now := after.get(key):
            old, moved = before.get(key), f"{now['stability']:>5.2f}"
            if old != now:
                moved = f"{old['stability']:.2f} → {moved}" if old else f"new → {moved}"
            cells = [moved, now["due"]]
        shown = pub_id if key == pub_id else f"{pub_id} (old edition)"
        table.add_row(shown, f"[{COLOURS[outcome]}]{outcome}[/]", *cells)
    return table


def _topics_table(result: Mapping[str, Any]) -> Table:
    """Show the counts of each session that the upload made."""
    names = {topic.id: topic.name for topic in sample.read_catalog().topics}
    table = _table("topic")
    for heading in COUNTS.values():
        table.add_column(heading.replace(" ", "\n"), justify="right")
    for topic in result["topics"]:
        cells = (str(topic[count]) if topic[count] else "[dim]·[/]" for count in COUNTS)
        table.add_row(names[topic["study_topic_id"]], *cells)
    return table


def _table(*columns: str, **look: Any) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", **look)
    table.show_edge = table.pad_edge = False
    table.padding = (0, 1, 0, 0)
    return table


def _closing_words(environment: Mapping[str, str], home: Path, link: str) -> str:
    """Return the addresses and tokens, and two commands to try: they send an upload, and print progress."""
    api, token = environment["API_URL"], remote.first_token(environment["VIEWER_SYNC_TOKEN"])
    (edition,) = (each for _, each in sample.read_catalog().editions if each.pub_id == QUESTION)
    answer = {
        "pub_id": QUESTION,
        "selected": edition.correct_choice,
        "unsure": False,
        "answered_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    body = json.dumps({"client_session_uuid": str(uuid4()), "attempts": [answer]})
    headers = (f"Authorization: Bearer {token}", "Content-Type: application/json")
    options = [f"-H {shlex.quote(header)}" for header in headers]
    curl = " \\\n  ".join([f"curl -sS {api}{client.PATH}", *options, f"-d {shlex.quote(body)}"])
    progress = [sys.argv[0], "progress", "--user", str(LEARNER), "--data-dir", str(home.resolve())]
    return f"""\
Everything keeps running until Ctrl-C.

   API           {api}
   its docs      {api}/docs
   quiz page     {link}
   operators     {api}/ops
   password      {environment["OPS_PASSWORD"]}
   Flower        {environment["FLOWER_URL"]}
   Flower login  {environment["FLOWER_BASIC_AUTH"]}
   viewer token  {environment["VIEWER_SYNC_TOKEN"]}
   study token   {environment["STUDY_API_TOKEN"]}

Send a session yourself. If you send it again, it is already ingested, and the answer shows its result:

{curl}

Then look at the learner's progress:

{shlex.join(progress)}"""
