"""Whether every process of the Procfile is at work."""

from collections.abc import Iterator

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from cli.doctor.finding import Finding, fail, ok, warn
from shared.broker import FINALIZE_QUEUE, FOLLOWUPS_QUEUE, SWEEP_QUEUE
from shared.config import Settings

ANSWER_S = 2.0  # a worker's main process answers at once; one on a busy machine a little later
LATE_SWEEPS = 10


def look_at_processes(app: Celery, settings: Settings, since_sweep: float | None) -> Iterator[Finding]:
    """Judge by the queues that are served, and by the seconds since a sweep began (None: never)."""
    try:
        served = _served_queues(app)
    except (OperationalError, RedisError) as error:
        yield fail("processes", f"cannot be asked: {error}", "mend the broker, then ask again")
        return
    sweeps = since_sweep is not None and since_sweep <= LATE_SWEEPS * settings.sweep_every
    # Its pool is solo: while it sweeps it does not answer.
    sweeper = SWEEP_QUEUE in served or sweeps
    yield _worker(alive=FINALIZE_QUEUE in served)
    yield _sweeper(alive=sweeper)
    yield _beat(sweeper=sweeper, sweeps=sweeps, since_sweep=since_sweep)
    if settings.followup_webhook_url:
        yield _followups(alive=FOLLOWUPS_QUEUE in served)


def _served_queues(app: Celery) -> set[str]:
    answers = app.control.inspect(timeout=ANSWER_S).active_queues() or {}
    return {queue["name"] for queues in answers.values() for queue in queues}


def _worker(*, alive: bool) -> Finding:
    if alive:
        return ok("worker", "answers")
    return fail("worker", f"none takes from the queue {FINALIZE_QUEUE}", "start the Procfile's `worker`")


def _sweeper(*, alive: bool) -> Finding:
    if alive:
        return ok("sweeper", "at work")
    return fail("sweeper", f"none takes from the queue {SWEEP_QUEUE}", "start the Procfile's `sweeper`")


def _beat(*, sweeper: bool, sweeps: bool, since_sweep: float | None) -> Finding:
    last = (
        "no sweep was ever begun" if since_sweep is None else f"the last sweep began {since_sweep:.0f} s ago"
    )
    if sweeps:
        return ok("beat", last)
    if not sweeper:
        return warn(
            "beat", f"{last}: without a sweeper it shows no life", "start the sweeper, then ask again"
        )
    return fail("beat", last, "start the Procfile's `beat`: one, anywhere")


def _followups(*, alive: bool) -> Finding:
    if alive:
        return ok("followups", "answers")
    said = f"none takes from the queue {FOLLOWUPS_QUEUE}"
    return warn("followups", said, "none needed, if it is waiting for a receiver; else start `followups`")
