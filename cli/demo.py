"""`demo`: start everything, send a sample of sessions, and show what was learned from them."""

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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
from sqlalchemy import Connection, Engine, Row, text

from cli.client import PATH, Answer, Sender
from cli.local.places import DEFAULT_DIRECTORY, TRAVERSABLE
from cli.local.up import USUAL_PORT, Running, running
from shared.catalog_admin import CatalogFile, load_catalog, read_catalog
from shared.config import StoreSettings
from shared.db import make_engine
from shared.errors import StudyIngestError
from shared.study.finalize import verify
from shared.study.store import list_progress

HERE = Path(__file__).with_name("sample")
LEARNER = 42  # not 1: a real catalog's first learner may share the database


def read_sample_catalog() -> CatalogFile:
    """Return forty questions of three topics, and their learner."""
    return read_catalog(HERE / "catalog.json")


def earlier_uploads() -> list[str]:
    """Return the uploads of the weeks before, oldest first, as JSON texts."""
    return (HERE / "earlier.ndjson").read_text("utf-8").splitlines()


def main_upload() -> str:
    """Return the upload that shows every outcome, every pattern, a repeat and an unknown question."""
    return (HERE / "session.json").read_text("utf-8")


QUESTION = "geo-capital-canada"  # the sample's learner has never known it: a right answer is news


def closing_words(environment: Mapping[str, str], token: str, home: Path) -> str:
    """Say where everything is, and how to send an upload with a viewer's token."""
    api = environment["API_URL"]
    look = [sys.argv[0], "progress", "--user", str(LEARNER), "--data-dir", str(home.resolve())]
    return f"""\
It keeps running until Ctrl-C.

   API           {api}
   its docs      {api}/docs
   operators     {api}/ops
   password      {environment["OPS_PASSWORD"]}
   Flower        {environment["FLOWER_URL"]}
   Flower login  {environment["FLOWER_BASIC_AUTH"]}
   viewer token  {environment["VIEWER_SYNC_TOKEN"]}
   study token   {environment["STUDY_API_TOKEN"]}

Send a session yourself; the second time, it is already ingested and shows its result:

{curl_line(api, token)}

Then look at the learner:

{shlex.join(look)}"""


def curl_line(api: str, token: str) -> str:
    """Return a command that sends a new upload: one right answer, given now."""
    (question,) = (each for each in read_sample_catalog().questions if each.pub_id == QUESTION)
    answer = {
        "pub_id": QUESTION,
        "selected": question.correct_choice,
        "unsure": False,
        "answered_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    body = json.dumps({"client_session_uuid": str(uuid4()), "attempts": [answer]})
    headers = (f"Authorization: Bearer {token}", "Content-Type: application/json")
    options = [f"-H {shlex.quote(header)}" for header in headers]
    return " \\\n  ".join([f"curl -sS {api}{PATH}", *options, f"-d {shlex.quote(body)}"])


Progress = dict[str, dict[str, Any]]  # by public id: a line of `study-ingest progress`

_GRADES = text("""
    SELECT a.ordinal, a.outcome, a.rating
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE s.client_session_uuid = :uuid AND s.superseded_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class Lesson:
    """An upload's result, its attempts' grades in words, and its learner's progress before and after."""

    result: Mapping[str, Any]
    grades: Mapping[int, str]
    before: Progress
    after: Progress

    @property
    def counted(self) -> list[str]:
        """List the questions whose progress the upload moves."""
        return [each["pub_id"] for each in self.result["attempts"] if each["status"] == "counted"]

    @property
    def advanced(self) -> dict[str, int]:
        """Return by how many reviews each question advanced whose progress is not what it was."""
        return {
            pub_id: now["reviews"] - self.before.get(pub_id, {"reviews": 0})["reviews"]
            for pub_id, now in self.after.items()
            if now != self.before.get(pub_id)
        }


def read_progress(connection: Connection, user_id: int) -> Progress:
    """Return what is known of a learner."""
    return {line["pub_id"]: line for line in list_progress(connection, user_id)}


def read_grades(connection: Connection, uuid: str) -> dict[int, str]:
    """Return the outcome of each attempt of an upload, by its place there."""
    return {row.ordinal: _in_words(row) for row in connection.execute(_GRADES, {"uuid": uuid})}


def _in_words(row: Row[Any]) -> str:
    unsure_but_right = row.outcome == "unsure" and row.rating != Rating.Again
    return "unsure, but right" if unsure_but_right else str(row.outcome)


INDENT = 3
PATIENCE_S = 60.0  # workers that have just started take a few seconds


class BrokenPromiseError(StudyIngestError):
    """The demo took another turn than it should."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running system, the database below it, and the terminal on which its story is told."""

    sender: Sender
    study_token: str
    engine: Engine
    default_zone: str
    console: Console

    def deliver(self, upload: str) -> Answer:
        """Send an upload and wait until it is ingested; raise BrokenPromiseError where it is not."""
        sent = self.sender.send(upload)
        if sent.answer is Answer.RECEIVED:
            sent = self.sender.wait(upload, time.monotonic() + PATIENCE_S)
        if sent.answer not in {Answer.INGESTED, Answer.ALREADY_INGESTED}:
            raise BrokenPromiseError(f"an upload is not ingested, but {sent.answer}: {sent.why}")
        return sent.answer

    def study(self, path: str, body: Any = None, *, method: str = "POST") -> dict[str, Any]:
        """Ask the live side; raise BrokenPromiseError where it refuses."""
        headers = {"Authorization": f"Bearer {self.study_token}"}
        response = self.sender.http.request(method, path, json=body, headers=headers)
        if not response.is_success:
            raise BrokenPromiseError(f"{method} {path} is answered {response.status_code}")
        answer: dict[str, Any] = response.json()
        return answer

    def progress(self, user_id: int) -> Progress:
        """Return what is known of a learner."""
        with self.engine.connect() as connection:
            return read_progress(connection, user_id)

    def say(self, text: str) -> None:
        """Tell what happens."""
        self.console.print(" " * INDENT + text, soft_wrap=True)

    def show(self, *tables: Table) -> None:
        """Show tables, with air around them."""
        for table in tables:
            self.console.print(Padding(table, (1, 0, 0, INDENT), expand=False))
        self.console.print()

    def confirm(self, what: str) -> None:
        """Say that something is as it should be."""
        self.say(f"[green]✓[/] {what}")

    def expect(self, what: str, *, kept: bool) -> None:
        """Confirm what is so; raise BrokenPromiseError where it is not."""
        if not kept:
            raise BrokenPromiseError(f"this should be so and is not: {what}")
        self.confirm(what)


STABILITY = "stability: days after which nine of ten such questions are still known"
COLOURS = {"correct": "green", "wrong": "red", "unsure": "yellow", "unsure, but right": "yellow"}
COUNTS = {
    "correct_count": "correct",
    "wrong_count": "wrong",
    "unsure_count": "unsure",
    "newly_correct_count": "newly\ncorrect",
    "recovered_count": "recovered",
    "relapsed_count": "relapsed",
    "chronic_remaining_count": "chronic",
}


def attempts_table(lesson: Lesson) -> Table:
    """Show what became of each attempt, and how its question's progress moved."""
    table = _table("question", "outcome", caption=STABILITY, caption_justify="left")
    table.add_column("stability (d)", justify="right")
    table.add_column("next due")
    for ordinal, attempt in enumerate(lesson.result["attempts"]):
        pub_id, status = attempt["pub_id"], attempt["status"]
        grade = lesson.grades.get(ordinal)
        if grade and status == "counted":
            table.add_row(pub_id, f"[{COLOURS[grade]}]{grade}[/]", *_moved(lesson, pub_id))
        else:
            table.add_row(pub_id, f"{status}: {grade or 'unknown'}", style="dim")
    return table


def topics_table(lesson: Lesson, names: Mapping[int, str]) -> Table:
    """Show the counts of each session that the upload left."""
    table = _table("topic")
    for heading in COUNTS.values():
        table.add_column(heading, justify="right")
    for topic in lesson.result["topics"]:
        table.add_row(names[topic["study_topic_id"]], *(_count(topic, count) for count in COUNTS))
    return table


def _table(*columns: str, **look: Any) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", **look)
    table.show_edge = table.pad_edge = False
    table.padding = (0, 1, 0, 0)
    return table


def _moved(lesson: Lesson, pub_id: str) -> tuple[str, str]:
    before, after = lesson.before.get(pub_id), lesson.after.get(pub_id)
    if after is None:  # its sessions were voided since
        return "", ""
    now, due = f"{after['stability']:>5.2f}", after["due"]
    if before == after:
        return now, due
    return f"{before['stability']:.2f} → {now}" if before else f"new → {now}", due


def _count(topic: Mapping[str, Any], count: str) -> str:
    return str(topic[count]) if topic[count] else "[dim]·[/]"


LIVE, VIEWER = 43, 44  # two learners beside the sample's own, with the same questions
QUESTIONS = 2  # of each subject: enough for a short session
ROOM = 1000  # for the ids of a learner's questions


def play_live_and_upload_the_twin(stage: Stage) -> None:
    """Answer a session live, upload the same answers for another learner, and compare."""
    for learner in (LIVE, VIEWER):
        with stage.engine.begin() as connection:
            load_catalog(connection, twin_catalog(learner), default_zone=stage.default_zone)
    live = _play(stage)
    stage.say(f"{len(live['questions'])} questions answered live, one by one; the twin is one upload")
    upload = _twin(live)
    stage.deliver(json.dumps(upload))
    (twin,) = stage.sender.status(upload["client_session_uuid"])["result"]["topics"]
    same = {name: twin[name] for name in live["snapshot"]} == live["snapshot"]
    stage.expect("both sessions have the same counts", kept=same)
    same = _unnamed(stage.progress(LIVE)) == _unnamed(stage.progress(VIEWER))
    stage.expect("both learners have the same progress, to the last digit", kept=same)


def twin_catalog(learner: int) -> CatalogFile:
    """Return the sample's first topic as a learner's own."""
    sample = read_sample_catalog().model_dump(mode="json")
    topic, *_ = sample["topics"]
    questions = [question for question in sample["questions"] if question["study_topic_id"] == topic["id"]]
    owned = {"user_id": learner, "study_topic_id": learner}
    return CatalogFile.model_validate(
        {
            "users": [{"id": learner, "time_zone": sample["users"][0]["time_zone"]}],
            "topics": [{"id": learner, "user_id": learner, "name": topic["name"]}],
            "questions": [
                question | owned | {"id": learner * ROOM + place, "pub_id": f"{learner}-{question['pub_id']}"}
                for place, question in enumerate(questions)
            ],
        }
    )


def _play(stage: Stage) -> dict[str, Any]:
    wish = {"study_topic_id": LIVE, "target_per_subject": QUESTIONS}
    session = stage.study(f"/study/users/{LIVE}/sessions", wish)
    place = f"/study/users/{LIVE}/sessions/{session['session_id']}"
    for number, question in enumerate(session["questions"]):
        stage.study(f"{place}/attempts", {"pub_id": question["pub_id"]} | _answer(number, question))
    stage.study(f"{place}/finalize")
    return stage.study(place, method="GET")


def _answer(number: int, question: dict[str, Any]) -> dict[str, Any]:
    """Answer now this, now that: sure, unsure, and not at all."""
    choice = number % (len(question["choices"]) + 1)
    return {"selected": choice if choice < len(question["choices"]) else None, "unsure": number % 3 == 0}


def _twin(session: dict[str, Any]) -> dict[str, Any]:
    answered = [(question["pub_id"], question["answer"]) for question in session["questions"]]
    return {
        "client_session_uuid": str(uuid4()),
        "attempts": [
            {
                "pub_id": pub_id.replace(str(LIVE), str(VIEWER), 1),
                "selected": answer["selected"],
                "unsure": answer["unsure"],
                "answered_at": answer["answered_at"],
            }
            for pub_id, answer in answered
        ],
    }


def _unnamed(progress: Progress) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "pub_id"} for line in progress.values()]


def load_the_catalog(stage: Stage) -> None:
    """Load the sample's questions; where they are known, nothing changes."""
    catalog = read_sample_catalog()
    with stage.engine.begin() as connection:
        load_catalog(connection, catalog, default_zone=stage.default_zone)
    topics = ", ".join(topic.name for topic in catalog.topics)
    stage.say(f"{len(catalog.questions)} questions of learner {LEARNER}: {topics}")


def send_what_came_before(stage: Stage) -> None:
    """Send the sessions of the weeks before, the newest first."""
    uploads = earlier_uploads()
    stage.say(f"{len(uploads)} sessions, sent newest first: any order of arrival gives the same progress")
    for upload in reversed(uploads):
        stage.deliver(upload)
    stage.confirm("all of them are ingested")


def send_the_session(stage: Stage) -> None:
    """Send the session that shows everything, and show what was learned from it."""
    upload = json.loads(main_upload())
    stage.say(f"{len(upload['attempts'])} answers, given offline on {upload['started_at'][:10]}")
    past = datetime.fromisoformat(upload["finished_at"]) < datetime.now(UTC)
    stage.expect("they are past by this machine's clock, so that their times stand as sent", kept=past)
    before = stage.progress(LEARNER)
    is_new = stage.deliver(main_upload()) is Answer.INGESTED
    if is_new:
        stage.confirm("they are received and ingested")
    else:
        stage.say("[yellow]the demo sent them before, in an earlier run: they count once[/]")
    lesson = _learned(stage, upload["client_session_uuid"], before)
    _show(stage, lesson)
    _check(stage, lesson, is_new=is_new)


def _learned(stage: Stage, uuid: str, before: Progress) -> Lesson:
    result = stage.sender.status(uuid)["result"]
    with stage.engine.connect() as connection:
        return Lesson(result, read_grades(connection, uuid), before, read_progress(connection, LEARNER))


def _show(stage: Stage, lesson: Lesson) -> None:
    names = {topic.id: topic.name for topic in read_sample_catalog().topics}
    stage.show(attempts_table(lesson), topics_table(lesson, names))


def _check(stage: Stage, lesson: Lesson, *, is_new: bool) -> None:
    topics = lesson.result["topics"]
    stage.expect(
        "every outcome and every pattern occurs",
        kept=all(any(topic[count] for topic in topics) for count in COUNTS),
    )
    if is_new:
        stage.expect(
            "each counted answer advanced its question by one review, and nothing else moved",
            kept=lesson.advanced == dict.fromkeys(lesson.counted, 1),
        )
    else:
        stage.expect("nothing advanced", kept=not lesson.advanced)


def send_it_again(stage: Stage) -> None:
    """Send the same upload once more, as a viewer does that missed the answer."""
    before = stage.progress(LEARNER)
    stage.say("the viewer missed the answer, and sends the same upload once more")
    sent = stage.sender.send(main_upload())
    stage.expect("the server answers already_ingested", kept=sent.answer is Answer.ALREADY_INGESTED)
    stage.expect("nothing advanced", kept=stage.progress(LEARNER) == before)


def verify_everything(stage: Stage) -> None:
    """Fold every attempt log afresh."""
    stage.say("every learner's attempts are folded afresh, and compared with the progress as kept")
    checked = verify(stage.engine, default_zone=stage.default_zone)
    differences = sum(len(each.differing) for each in checked)
    stage.expect(f"{differences} differences", kept=not differences)


STORY: tuple[tuple[str, Callable[[Stage], None]], ...] = (
    ("The catalog is loaded", load_the_catalog),
    ("What came before", send_what_came_before),
    ("One session, solved offline", send_the_session),
    ("The same session again", send_it_again),
    ("Live, and its twin", play_live_and_upload_the_twin),
    ("The check", verify_everything),
)


def tell(stage: Stage) -> None:
    """Tell the story; raise BrokenPromiseError where it takes another turn."""
    for number, (title, step) in enumerate(STORY, start=1):
        stage.console.print(f"\n[bold]{number}. {title}[/]")
        step(stage)


LOGS = "logs"


@click.command()
@click.option("--once", is_flag=True, help="Exit when the story is told; --data-dir keeps its logs.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="STUDY_INGEST_DATA_DIR",
    help=f"As of `up`.  [default: {DEFAULT_DIRECTORY}; with --once a temporary one]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"0: any free one.  [default: {USUAL_PORT}; with --once any free one]",
)
def demo(*, once: bool, data_dir: Path | None, port: int | None) -> None:
    """Start everything, send a sample of sessions, and show what was learned; then keep running.

    Everything that should be so is checked; exit 1 if anything is not. Safe to run again.
    """
    console = Console(highlight=False)
    with ExitStack() as cleanup:
        home = cleanup.enter_context(_home(data_dir, once=once))
        with console.status("starting Postgres, Valkey and every process"):
            everything = cleanup.enter_context(running(home, _port(port, once=once), logs=home / LOGS))
        console.print(f"Everything runs; its logs are in {home / LOGS}", markup=False, soft_wrap=True)
        token = everything.environment["VIEWER_SYNC_TOKEN"].split(",")[0].strip()
        _tell(everything, token, console)
        console.print("\n[bold]Everything was as it should be.[/]")
        if not once:
            words = closing_words(everything.environment, token, home)
            console.print(words, markup=False, soft_wrap=True)
            with suppress(KeyboardInterrupt):
                everything.processes.wait()


@contextmanager
def _home(data_dir: Path | None, *, once: bool) -> Iterator[Path]:
    if data_dir or not once:
        yield data_dir or DEFAULT_DIRECTORY
        return
    with tempfile.TemporaryDirectory(prefix="study-ingest-demo-") as name:
        home = Path(name)
        home.chmod(TRAVERSABLE)
        yield home


def _port(port: int | None, *, once: bool) -> int:
    if port is None:
        return 0 if once else USUAL_PORT
    return port


def _tell(everything: Running, token: str, console: Console) -> None:
    with _stage(everything.environment, token, console) as stage:
        try:
            tell(stage)
        except BrokenPromiseError:
            everything.processes.check()  # a process that has ended is the better reason
            raise


@contextmanager
def _stage(environment: Mapping[str, str], token: str, console: Console) -> Iterator[Stage]:
    settings = StoreSettings(database_url=environment["DATABASE_URL"])
    engine = make_engine(settings)
    try:
        study_token = environment["STUDY_API_TOKEN"].split(",")[0].strip()
        with Sender(environment["API_URL"], token) as sender:
            yield Stage(sender, study_token, engine, settings.study_time_zone, console)
    finally:
        engine.dispose()
