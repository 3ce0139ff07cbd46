"""Everything about a learner that an operator looks at together."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from shared.live.due_calendar import DueDay, due_calendar
from shared.live.lists import BEFORE_NOTES, Topic, list_topics, weak_areas, wrong_notes
from shared.live.sessions import require_learner
from shared.study.progress import Curve, forgetting_curve
from shared.study.scheduling import study_day
from shared.study.store import learner_zone, list_progress, other_reviews

# Four weeks and what is left of this one.
DAYS = 35
NOTES = 50
# The line goes on for a while, so that one sees where it leads.
AHEAD = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Portrait:
    """A learner as an operator sees him: JSON values, but for the calendar and the topics."""

    zone: str
    progress: list[dict[str, Any]]
    calendar: list[DueDay]
    areas: list[tuple[Topic, list[dict[str, Any]]]]
    notes: list[dict[str, Any]]


def portray(connection: Connection, user_id: int, *, now: datetime, default_zone: str) -> Portrait:
    """Gather what is known of a learner; raise UnknownLearnerError if there is none."""
    require_learner(connection, user_id)
    zone = learner_zone(connection, user_id, default_zone)
    notes = wrong_notes(connection, user_id, state="open", after=BEFORE_NOTES, limit=NOTES)
    areas = [
        (topic, weak_areas(connection, user_id, topic.id, now=now, default_zone=default_zone))
        for topic in list_topics(connection, user_id)
    ]
    return Portrait(
        zone.key,
        list(list_progress(connection, user_id)),
        due_calendar(connection, user_id, today=study_day(now, zone), days=DAYS),
        [(topic, subjects) for topic, subjects in areas if subjects],
        [note for _, note in notes],
    )


def curve(
    connection: Connection, user_id: int, question_id: int, *, now: datetime, default_zone: str
) -> Curve:
    """Draw the forgetting curve of a learner's question, some weeks on from now."""
    zone = learner_zone(connection, user_id, default_zone)
    reviews = other_reviews(connection, user_id, [], [question_id])[question_id]
    return forgetting_curve(reviews, now + AHEAD, zone)
