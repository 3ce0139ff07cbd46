"""The weak areas of a topic, subject by subject: computed when they are asked for."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, text

from shared.live.learner import require_learner, require_topic
from shared.study.progress import CHRONIC_AFTER
from shared.study.scheduling import Memory, retrievability
from shared.study.store import learner_zone

# A question that is withdrawn can no longer be learned.
_REVIEWED = text("""
    SELECT q.subject, i.pub_id, p.reviews, p.misses, p.miss_streak, p.stability, p.difficulty,
        p.last_reviewed_at
    FROM study_question_progress p
    JOIN study_questions q ON q.id = p.study_question_id
    JOIN LATERAL (SELECT min(pub_id COLLATE "C") AS pub_id FROM published_items
        WHERE source_id = q.id HAVING count(*) > 0) i ON TRUE
    WHERE p.user_id = :user_id AND q.study_topic_id = :topic_id AND q.retired_at IS NULL
    ORDER BY i.pub_id COLLATE "C"
""")


def weak_areas(
    connection: Connection, user_id: int, topic_id: int, *, now: datetime, default_zone: str
) -> list[dict[str, Any]]:
    """Return what is known of each subject that was answered, the weakest first."""
    require_learner(connection, user_id)
    require_topic(connection, user_id, topic_id)
    zone = learner_zone(connection, user_id, default_zone)
    subjects = defaultdict(list)
    for row in connection.execute(_REVIEWED, {"user_id": user_id, "topic_id": topic_id}):
        subjects[row.subject].append(row)
    areas = [_area(subject, rows, now, zone) for subject, rows in subjects.items()]
    return sorted(areas, key=lambda area: (area["accuracy"], area["subject"]))


def _area(subject: str, rows: Sequence[Row[Any]], now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    reviews, misses = sum(row.reviews for row in rows), sum(row.misses for row in rows)
    recalls = [
        retrievability(Memory(row.stability, row.difficulty), row.last_reviewed_at, now, zone) for row in rows
    ]
    return {
        "subject": subject,
        "questions": len(rows),
        "reviews": reviews,
        "misses": misses,
        "accuracy": 1 - misses / reviews,
        "chronic": [row.pub_id for row in rows if row.miss_streak > CHRONIC_AFTER],
        "mean_retrievability": sum(recalls) / len(recalls),
    }
