"""How many questions a learner should review on each day to come."""

from datetime import date, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from shared.live.sessions import require_learner

# What is overdue is to be done today.
_COUNTS = text("""
    SELECT greatest(p.due, :today) AS day, count(*) AS questions
    FROM study_question_progress p JOIN study_questions q ON q.id = p.study_question_id
    WHERE p.user_id = :user_id AND p.due < :end AND q.retired_at IS NULL
    GROUP BY 1
""")


class DueDay(NamedTuple):
    """A study day and how many questions are due on it."""

    day: date
    questions: int


def due_calendar(connection: Connection, user_id: int, *, today: date, days: int) -> list[DueDay]:
    """Count the questions due on each of some study days, from today on."""
    require_learner(connection, user_id)
    bound = {"user_id": user_id, "today": today, "end": today + timedelta(days=days)}
    counts = {row.day: row.questions for row in connection.execute(_COUNTS, bound)}
    coming = (today + timedelta(days=number) for number in range(days))
    return [DueDay(day, counts.get(day, 0)) for day in coming]
