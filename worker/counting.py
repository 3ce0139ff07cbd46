"""Count what became of uploads, once it is committed."""

from collections import Counter
from itertools import chain

from shared import metrics
from shared.plan import Plan
from shared.replay import Replayed
from shared.uploads import Status


def count_replay(replayed: Replayed, seconds: float, statements: int) -> None:
    """Count a replay that was committed."""
    metrics.REPLAY_SECONDS.observe(seconds)
    metrics.REPLAY_STATEMENTS.observe(statements)
    metrics.ENDED.labels(replayed.status).inc()
    metrics.LATE_FOLDS.inc(replayed.late)
    if plan := replayed.plan:
        for fate, times in Counter(plan.fates).items():
            metrics.ATTEMPTS.labels(fate).inc(times)
        if replayed.status is Status.INGESTED:
            _count_answers(plan)


def _count_answers(plan: Plan) -> None:
    attempts = list(chain.from_iterable(plan.topics.values()))
    for outcome, times in Counter(attempt.outcome for attempt in attempts).items():
        metrics.ANSWERS.labels(outcome).inc(times)
    metrics.CLOCK_ADJUSTED.inc(sum(attempt.clock_adjusted for attempt in attempts))


def count_burial() -> None:
    """Count an upload that has had all its tries."""
    metrics.ENDED.labels(Status.DEAD).inc()
