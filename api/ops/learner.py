"""The list of learners, and a learner's page: a forgetting curve, due questions, weak areas, wrong notes."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from functools import partial

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection

from api.ops.session import services
from shared import db
from shared.attempts import load_questions
from shared.ops import reports
from shared.payload import normal_id
from shared.study.progress import Curve

blueprint = Blueprint("learner", __name__)

LEARNERS = 50
WEEK = 7
SHADES = 4

# Midnight of a study date, and two probabilities of recall in percent: one on the curve, one at a review. One
# of these two is None.
Row = tuple[datetime, tuple[float | None, float | None]]


@blueprint.get("/learners")
def learners() -> ResponseReturnValue:
    """List the learners who match a text.

    If only one learner matches, or the text is the id of a learner, redirect to this learner.
    """
    typed = request.args.get("learner", "").strip()
    search = partial(reports.find_learners, typed=normal_id(typed), limit=LEARNERS)
    found = [] if "\0" in typed else services().store.read(search)
    if typed and found and (len(found) == 1 or str(found[0].id) == typed):
        return redirect(url_for(".learner", user_id=found[0].id), 303)
    return render_template("learners.html", found=found, typed=typed, limit=LEARNERS)


@blueprint.get("/learners/<id:user_id>")
def learner(user_id: int) -> ResponseReturnValue:
    """Show a learner, with the forgetting curve of one question.

    If no question is requested, the curve is that of the question that was missed most often.
    """
    zone = services().settings.study_time_zone
    asked_for = normal_id(request.args.get("question", ""))

    def read(connection: Connection) -> tuple[reports.LearnerReport, str, Curve | None]:
        now = db.now(connection)
        report = reports.report_learner(connection, user_id, now=now, default_zone=zone)
        weakest = max(report.progress, key=lambda each: (each["misses"], each["reviews"]), default=None)
        pub_id = asked_for or (weakest["pub_id"] if weakest else "")
        question = load_questions(connection, [pub_id]).get(pub_id) if "\0" not in pub_id else None
        if question is None or question.user_id != user_id:
            return report, pub_id, None
        return report, pub_id, reports.curve(connection, user_id, question.id, now=now, default_zone=zone)

    report, pub_id, drawn = services().store.read(read)
    return render_template(
        "learner.html",
        user_id=user_id,
        report=report,
        weeks=weeks(report.calendar),
        pub_id=pub_id,
        curve=drawn,
        points=rows(drawn) if drawn else [],
    )


def weeks(days: Sequence[reports.DueDay]) -> list[list[tuple[reports.DueDay, int] | None]]:
    """Arrange days, each with a shade (0 to 4), in weeks that begin on Monday; None fills a week's gaps."""
    most = max(day.questions for day in days)
    cells: list[tuple[reports.DueDay, int] | None] = [None] * days[0].day.weekday()
    cells += [(day, -(-SHADES * day.questions // most) if most else 0) for day in days]
    cells += [None] * (-len(cells) % WEEK)
    return [cells[start : start + WEEK] for start in range(0, len(cells), WEEK)]


def rows(drawn: Curve) -> list[Row]:
    """Convert a curve into rows of a table; the first review has no probability, and is drawn at 100 %."""
    line: list[Row] = [(_midnight(day), (_percent(recall), None)) for day, recall in drawn.points]
    dots: list[Row] = [
        (
            _midnight(each.after.last_study_date),
            (None, 100.0 if each.recall is None else _percent(each.recall)),
        )
        for each in drawn.steps
    ]
    return sorted([*line, *dots], key=lambda row: row[0])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _percent(part: float) -> float:
    return round(100 * part, 1)
