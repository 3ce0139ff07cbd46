"""Close a quiz session and apply every learning effect: load, decide, save."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from shared.followups.rows import ask
from shared.study.decision import decide, late
from shared.study.progress_rows import load_cached, save_progress
from shared.study.review_rows import other_reviews, session_reviews
from shared.study.session_rows import close_session, owner


@dataclass(frozen=True, slots=True)
class Finalized:
    """What finalize did: the session's `snapshot` of counts, and each question's new `due` day."""

    snapshot: dict[str, Any]
    due: Mapping[int, date]


def finalize_session(
    connection: Connection, session_id: int, *, now: datetime, default_zone: str
) -> Finalized:
    """Fold a session's attempts into its learner's progress, and close it.

    Live and viewer sessions alike. The caller holds the learner's lock and the transaction.
    """
    learner = owner(connection, session_id, default_zone)
    zone = ZoneInfo(learner.time_zone)
    reviews = session_reviews(connection, session_id)
    cached = load_cached(connection, learner.user_id, [review.question_id for review in reviews])
    history = other_reviews(connection, learner.user_id, session_id, late(reviews, cached, zone))

    decision = decide(reviews, cached, history, zone)

    save_progress(connection, learner.user_id, decision.progress, zone)
    snapshot = close_session(connection, session_id, decision.counts, now=now)
    ask(connection, session_id)
    return Finalized(snapshot, {question: each.due for question, each in decision.progress.items()})
