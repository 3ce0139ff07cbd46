"""Close quiz sessions and apply every learning effect: load, decide, save."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain, islice
from typing import Any

from sqlalchemy import Connection, Engine, text

from shared.study import store
from shared.study.progress import SCHEDULER, Cached, decide, fold, late


@dataclass(frozen=True, slots=True)
class Finalized:
    """What finalize did: the session's `snapshot` of counts, and each question's new `due` date.

    `late`: how many questions were folded from their whole history.
    """

    snapshot: dict[str, Any]
    due: Mapping[int, date]
    late: int


def finalize_session(connection: Connection, user_id: int, session_id: int, *, now: datetime) -> Finalized:
    """Fold a session's attempts into its learner's progress, and close it.

    The same for live and viewer sessions. The caller holds the learner's lock and the transaction.
    """
    (finalized,) = finalize_sessions(connection, user_id, [session_id], now=now)
    return finalized


def finalize_sessions(
    connection: Connection, user_id: int, session_ids: Sequence[int], *, now: datetime
) -> list[Finalized]:
    """Finalize some sessions of a learner, with no more statements than for one.

    No two may be of one topic: so they share no question, and none changes what another is decided by.
    """
    sessions, cached = store.load_sessions(connection, user_id, session_ids)
    reviews = chain.from_iterable(sessions.values())
    history = store.load_reviews(connection, user_id, late(reviews, cached), excluding=session_ids)

    decisions = {session: decide(reviews, cached, history) for session, reviews in sessions.items()}

    progress = {question: new for each in decisions.values() for question, new in each.progress.items()}
    store.save_progress(connection, user_id, progress)
    counts = {session: each.counts for session, each in decisions.items()}
    snapshots = store.close_sessions(connection, user_id, counts, now=now)
    return [
        Finalized(
            snapshots[session],
            {question: new.due for question, new in each.progress.items()},
            len(history.keys() & each.progress.keys()),
        )
        for session, each in decisions.items()
    ]


def refold(connection: Connection, user_id: int, question_ids: Iterable[int]) -> None:
    """Replace the progress of some questions; the caller holds the learner's lock."""
    folded = {
        question: fold(reviews)
        for question, reviews in store.load_reviews(connection, user_id, question_ids).items()
    }
    store.save_progress(connection, user_id, {question: each for question, each in folded.items() if each})
    store.delete_progress(connection, user_id, [question for question, each in folded.items() if not each])


# Questions read at a time, so that the memory for a learner with many years of answers is limited.
BATCH = 500


def differing(connection: Connection, user_id: int) -> set[int]:
    """Return the questions whose cached progress is not the fold of their attempts.

    The caller's transaction is one snapshot, in which attempts and progress agree: uploads may be replayed at
    the same time.
    """
    found = set()
    questions = iter(store.known_questions(connection, user_id))
    while batch := list(islice(questions, BATCH)):
        cached = store.load_cached(connection, user_id, batch)
        for question, reviews in store.load_reviews(connection, user_id, batch).items():
            progress = fold(reviews)
            if cached.get(question) != (progress and Cached(progress, SCHEDULER)):
                found.add(question)
    return found


@dataclass(frozen=True, slots=True)
class Checked:
    """One learner, and the questions whose progress was not the fold of their attempts."""

    user_id: int
    differing: set[int]


def verify(engine: Engine, *, repair: bool = False) -> Iterator[Checked]:
    """Check every learner; with `repair`, fold the differing questions again under the learner's lock."""
    with engine.connect() as connection:
        learners = list(connection.execute(text("SELECT id FROM users ORDER BY id")).scalars())
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    for user_id in learners:
        with snapshot.begin() as connection:
            found = differing(connection, user_id)
        if repair and found:
            with engine.begin() as connection:
                store.lock_learner(connection, user_id)
                refold(connection, user_id, found)
        yield Checked(user_id, found)
