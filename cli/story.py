"""The demo's story: steps that each say what they do, and check what came of it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from cli.lesson import Lesson, Progress, read_grades, read_progress
from cli.sample import LEARNER, earlier_uploads, main_upload, read_sample_catalog
from cli.sender import Answer
from cli.stage import Stage
from cli.tables import COUNTS, attempts_table, topics_table
from cli.twins import play_live_and_upload_the_twin
from shared.catalog_admin import load_catalog
from shared.study.finalize import verify


def load_the_catalog(stage: Stage) -> None:
    """Load the sample's questions; where they are known, nothing changes."""
    catalog = read_sample_catalog()
    load_catalog(stage.engine, catalog, default_zone=stage.default_zone)
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
    result = stage.sender.standing(uuid)["result"]
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
