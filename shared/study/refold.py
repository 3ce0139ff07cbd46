"""Fold attempt logs afresh: to compare with the cached progress, or to replace it."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from shared.study.decision import Cached
from shared.study.learner_rows import learner_zone
from shared.study.progress import fold
from shared.study.progress_rows import forget_progress, load_all_cached, save_progress
from shared.study.review_rows import learner_reviews
from shared.study.schedule import SCHEDULER


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
