"""Close quiz sessions and apply every learning effect: load, decide, save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from shared.followups.rows import ask
from shared.study.decision import decide, late
from shared.study.progress_rows import load_cached, save_progress
from shared.study.review_rows import other_reviews, session_reviews
from shared.study.session_rows import close_sessions, owner


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
    (finalized,) = finalize_sessions(connection, [session_id], now=now, default_zone=default_zone)
    return finalized


def finalize_sessions(
    connection: Connection, session_ids: Sequence[int], *, now: datetime, default_zone: str
) -> list[Finalized]:
    """Finalize some sessions of one learner, with no more statements than for one.

    No two may be of one topic: as they share no question, none moves what another is decided by.
    """
    learner = owner(connection, session_ids, default_zone)
    zone = ZoneInfo(learner.time_zone)
    sessions = session_reviews(connection, session_ids)
    reviews = list(chain.from_iterable(sessions))
    cached = load_cached(connection, learner.user_id, [review.question_id for review in reviews])
    history = other_reviews(connection, learner.user_id, session_ids, late(reviews, cached, zone))

    decisions = [decide(each, cached, history, zone) for each in sessions]

    progress = {question: new for each in decisions for question, new in each.progress.items()}
    save_progress(connection, learner.user_id, progress, zone)
    snapshots = close_sessions(connection, session_ids, [each.counts for each in decisions], now=now)
    ask(connection, session_ids)
    return [
        Finalized(snapshot, {question: new.due for question, new in each.progress.items()})
        for snapshot, each in zip(snapshots, decisions, strict=True)
    ]
