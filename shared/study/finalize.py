"""Close quiz sessions and apply every learning effect: load, decide, save."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, text

from shared.study import store
from shared.study.progress import SCHEDULER, Cached, Decision, Progress, decide, find_to_refold, fold


@dataclass(frozen=True, slots=True)
class Finalized:
    """What finalize did: the session's `snapshot` of counts, and each question's new `due` date.

    `late_folds`: how many questions were folded from their whole history.
    """

    snapshot: dict[str, Any]
    due: Mapping[int, date]
    late_folds: int


def finalize_session(connection: Connection, user_id: int, session_id: int, *, now: datetime) -> Finalized:
    """Fold a session's attempts into its learner's progress, and close it.

    This is the same for live and uploaded sessions. The caller holds the learner's lock and the transaction.
    """
    return finalize_sessions(connection, {user_id: [session_id]}, now=now)[session_id]


def finalize_sessions(
    connection: Connection, sessions: Mapping[int, Sequence[int]], *, now: datetime
) -> dict[int, Finalized]:
    """Finalize several sessions; return what was done, by session id.

    `sessions`: for each learner, the ids of their sessions, in the order in which they are folded. Any number
    of sessions needs two SQL statements. Each learner with questions that are folded from their whole history
    needs one more.
    """
    if not sessions:
        return {}
    decided: dict[tuple[int, int], Decision] = {}
    folded: set[int] = set()
    for user_id, (reviews, cached) in store.load_sessions(connection, sessions).items():
        own = [reviews[session] for session in sessions[user_id]]
        history = store.load_reviews(
            connection, user_id, find_to_refold(own, cached), excluding=sessions[user_id]
        )
        folded |= history.keys()
        decisions = decide(own, cached, history)
        decided |= {(user_id, id_): each for id_, each in zip(sessions[user_id], decisions, strict=True)}

    progress: dict[int, dict[int, Progress]] = defaultdict(dict)
    for (user_id, _), decision in decided.items():
        progress[user_id] |= decision.progress
    counts = {key: decision.counts for key, decision in decided.items()}
    snapshots = store.close_sessions(connection, counts, progress, now=now)
    return {
        session: Finalized(
            snapshots[session],
            {question: new.due for question, new in decision.progress.items()},
            len(folded & decision.progress.keys()),
        )
        for (_, session), decision in decided.items()
    }


def refold(connection: Connection, user_id: int, question_ids: Iterable[int]) -> None:
    """Fold some questions again; save their progress, or delete it where no review is left.

    The caller holds the learner's lock.
    """
    folded = {
        question: fold(reviews)
        for question, reviews in store.load_reviews(connection, user_id, question_ids).items()
    }
    if changed := {question: each for question, each in folded.items() if each}:
        store.save_progress(connection, {user_id: changed})
    store.delete_progress(connection, user_id, [question for question, each in folded.items() if not each])


# Limit of questions that are read at once, so that many years of answers do not need much memory.
BATCH = 500


def find_differing(connection: Connection, user_id: int) -> set[int]:
    """Return the questions whose cached progress is not the fold of their attempts.

    The caller's transaction must be one snapshot (REPEATABLE READ): uploads may be replayed between two
    reads.
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
    """Check every learner's progress; with `repair`, lock the learner and fold differing questions again."""
    with engine.connect() as connection:
        learners = list(connection.execute(text("SELECT id FROM users ORDER BY id")).scalars())
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    for user_id in learners:
        with snapshot.begin() as connection:
            found = find_differing(connection, user_id)
        if repair and found:
            with engine.begin() as connection:
                store.lock_learner(connection, user_id)
                refold(connection, user_id, found)
        yield Checked(user_id, found)
