"""Close quiz sessions and apply every learning effect: load, decide, save."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, text

from shared.db import scalars
from shared.study.progress import Cached, decide, fold, late
from shared.study.scheduling import SCHEDULER
from shared.study.store import (
    Learner,
    close_sessions,
    forget_progress,
    learner_reviews,
    learner_zone,
    load_all_cached,
    load_sessions,
    lock_learner,
    other_reviews,
    save_progress,
)


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


def differing(connection: Connection, user_id: int, default_zone: str) -> set[int]:
    """Return the questions whose cached progress is not the fold of their attempts.

    Read in one snapshot: attempts and progress are committed together, so that uploads may go on meanwhile.
    """
    zone = learner_zone(connection, user_id, default_zone)
    folded, cached = _fold_all(connection, user_id, zone), load_all_cached(connection, user_id)
    return {
        question for question in folded.keys() | cached.keys() if folded.get(question) != cached.get(question)
    }


def refold(
    connection: Connection, user_id: int, default_zone: str, question_ids: Iterable[int] | None = None
) -> None:
    """Replace the progress of some questions, or of all; the caller holds the learner's lock."""
    zone = learner_zone(connection, user_id, default_zone)
    folded, cached = _fold_all(connection, user_id, zone), load_all_cached(connection, user_id)
    wanted = set(folded.keys() | cached.keys() if question_ids is None else question_ids)
    kept = {question: folded[question].progress for question in wanted & folded.keys()}
    save_progress(connection, user_id, kept, zone)
    forget_progress(connection, user_id, wanted - folded.keys())


def _fold_all(connection: Connection, user_id: int, zone: ZoneInfo) -> dict[int, Cached]:
    return {
        question: Cached(progress, SCHEDULER, zone.key)
        for question, reviews in learner_reviews(connection, user_id).items()
        if (progress := fold(reviews, zone)) is not None
    }


@dataclass(frozen=True, slots=True)
class Checked:
    """One learner, and the questions whose progress was not what their attempts say."""

    user_id: int
    differing: set[int]


_LEARNERS = text("SELECT id FROM users ORDER BY id")


def verify(engine: Engine, *, default_zone: str, repair: bool = False) -> Iterator[Checked]:
    """Check learner by learner; with `repair`, fold again under the learner's lock what differs.

    Takes an engine, as each learner is looked at in a snapshot of their own and repaired in a transaction of
    their own: nobody else waits meanwhile.
    """
    with engine.connect() as connection:
        learners = scalars(connection, _LEARNERS)
    for user_id in learners:
        checked = Checked(user_id, _differing(engine, user_id, default_zone))
        if repair and checked.differing:
            _repair(engine, user_id, default_zone)
        yield checked


def _differing(engine: Engine, user_id: int, default_zone: str) -> set[int]:
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with snapshot.begin() as connection:
        return differing(connection, user_id, default_zone)


def _repair(engine: Engine, user_id: int, default_zone: str) -> None:
    with engine.begin() as connection:
        lock_learner(connection, user_id)
        refold(connection, user_id, default_zone)
