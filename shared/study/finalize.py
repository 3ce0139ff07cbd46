"""Close quiz sessions and apply every learning effect: load, decide, save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from shared.study.decision import decide, late
from shared.study.learner_rows import Learner
from shared.study.progress_rows import save_progress
from shared.study.review_rows import other_reviews
from shared.study.session_rows import close_sessions, load_sessions


@dataclass(frozen=True, slots=True)
class Finalized:
    """What finalize did: the session's `snapshot` of counts, and each question's new `due` day.

    `late`: how many questions were folded from their whole history.
    """

    snapshot: dict[str, Any]
    due: Mapping[int, date]
    late: int


def finalize_session(
    connection: Connection, learner: Learner, session_id: int, *, now: datetime
) -> Finalized:
    """Fold a session's attempts into its learner's progress, and close it.

    Live and viewer sessions alike. The caller holds the learner's lock and the transaction.
    """
    (finalized,) = finalize_sessions(connection, learner, [session_id], now=now)
    return finalized


def finalize_sessions(
    connection: Connection, learner: Learner, session_ids: Sequence[int], *, now: datetime
) -> list[Finalized]:
    """Finalize some sessions of a learner, with no more statements than for one.

    No two may be of one topic: as they share no question, none moves what another is decided by.
    """
    sessions, cached = load_sessions(connection, learner.id, session_ids)
    reviews = list(chain.from_iterable(sessions))
    history = other_reviews(connection, learner.id, session_ids, late(reviews, cached, learner.zone))

    decisions = [decide(each, cached, history, learner.zone) for each in sessions]

    progress = {question: new for each in decisions for question, new in each.progress.items()}
    save_progress(connection, learner.id, progress, learner.zone)
    snapshots = close_sessions(connection, session_ids, [each.counts for each in decisions], now=now)
    return [
        Finalized(
            snapshot,
            {question: new.due for question, new in each.progress.items()},
            len(history.keys() & each.progress.keys()),
        )
        for snapshot, each in zip(snapshots, decisions, strict=True)
    ]
