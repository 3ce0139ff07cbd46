"""A learner's page: how well a question is kept in mind, what is due, what is weak."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection

from api.ops.session import blueprint, ops
from api.services import edge
from shared.catalog import resolve
from shared.live.forms import BIGINT
from shared.ops.reports import DueDay, Portrait, curve, portray
from shared.study.progress import Curve

WEEK = 7
SHADES = 4
# As many as the largest id has: Python refuses to read thousands.
DIGITS = re.compile("[0-9]{1,19}")

# Time, the probability in percent, and that at a review.
Row = tuple[datetime, tuple[float | None, float | None]]


@blueprint.get("/learners")
def find_learner() -> ResponseReturnValue:
    """Go to the page of the learner that a form names."""
    given = request.args.get("learner", "").strip()
    if not (DIGITS.fullmatch(given) and int(given) < BIGINT):
        abort(422, "A learner's id is a number.")
    return redirect(url_for(".learner", user_id=int(given)), 303)


@blueprint.get("/learners/<id:user_id>")
def learner(user_id: int) -> ResponseReturnValue:
    """Show a learner, and the forgetting curve of one question."""
    look = _Look(user_id, request.args.get("question", "").strip(), edge().clock())
    portrait, pub_id, drawn = ops().desk.read(partial(_look, look, edge().settings.study_time_zone))
    return render_template(
        "learner.html",
        user_id=user_id,
        portrait=portrait,
        weeks=weeks(portrait.calendar),
        pub_id=pub_id,
        curve=drawn,
        points=rows(drawn) if drawn else [],
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What is to be shown, and as of when; `pub_id` is empty where the operator chose none."""

    user_id: int
    pub_id: str
    now: datetime


def _look(look: _Look, default_zone: str, connection: Connection) -> tuple[Portrait, str, Curve | None]:
    portrait = portray(connection, look.user_id, now=look.now, default_zone=default_zone)
    pub_id = look.pub_id or _weakest(portrait.progress)
    question = resolve(connection, [pub_id]).get(pub_id) if "\0" not in pub_id else None
    if question is None or question.user_id != look.user_id:
        return portrait, pub_id, None
    drawn = curve(connection, look.user_id, question.id, now=look.now, default_zone=default_zone)
    return portrait, pub_id, drawn


def _weakest(progress: Sequence[dict[str, Any]]) -> str:
    """Choose a question to begin with: the one with most to tell."""
    return max(progress, key=lambda line: (line["misses"], line["reviews"]))["pub_id"] if progress else ""


def weeks(days: Sequence[DueDay]) -> list[list[tuple[DueDay, int] | None]]:
    """Lay days out in weeks from Monday, each with a shade from 0 to 4; None: outside."""
    most = max(day.questions for day in days)
    cells: list[tuple[DueDay, int] | None] = [None] * days[0].day.weekday()
    cells += [(day, -(-SHADES * day.questions // most) if most else 0) for day in days]
    cells += [None] * (-len(cells) % WEEK)
    return [cells[start : start + WEEK] for start in range(0, len(cells), WEEK)]


def rows(drawn: Curve) -> list[Row]:
    """Write a curve as the rows of a table; the first review has no probability, and stands at the top."""
    line: list[Row] = [(at, (_percent(recall), None)) for at, recall in drawn.points]
    dots: list[Row] = [
        (each.review.answered_at, (None, 100.0 if each.recall is None else _percent(each.recall)))
        for each in drawn.reviewed
    ]
    return sorted([*line, *dots], key=lambda row: row[0])


def _percent(part: float) -> float:
    return round(100 * part, 1)
