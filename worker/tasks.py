"""Policy: what counts as a try, what is tried again, and when."""

import time
from collections import Counter
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any
from uuid import UUID

import structlog
from celery import Task

from shared import broker, metrics, spool
from shared.db import sent
from shared.errors import FailedUploadError
from shared.failures import describe, is_passing
from shared.health import beat
from shared.metrics import RING_FAILURES
from shared.plan import Plan
from shared.replay import Replayed, replay
from shared.retries import Start, claim_overdue, fail, postpone, share_out, start
from shared.uploads import Status
from worker.app import app, engine, redis, settings


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


log = structlog.get_logger()

# Of the time limit; the rest is for the last upload of a ring, which must not pay for its neighbours.
RING_SHARE = 0.25


@app.task(name=broker.FINALIZE, bind=True)
def finalize_upload(self: Task[Any, None], *client_session_uuids: str, ring: bool = False) -> None:
    """Replay uploads, each in its own transaction; record failures, for the sweeper to ring again.

    The first ring is optimistic and uncounted. One of the sweeper's (`ring`), or one that the broker delivers
    again, may follow a start that killed its worker: each upload is counted before it starts.
    """
    counted = ring or bool((self.request.delivery_info or {}).get("redelivered"))
    end = time.monotonic() + settings.task_time_limit * RING_SHARE
    failures = []
    for upload in map(UUID, client_session_uuids):
        if time.monotonic() > end:
            break  # whatever is left is the sweeper's
        if counted and not _start(upload):
            continue
        try:
            _replay(upload)
        except Exception as error:  # noqa: BLE001  # whatever it is: recorded, and raised anew
            _record(upload, error, counted=counted)
            failures.append(describe(error))
    if failures:  # without a cause: exceptions from below may quote values
        raise FailedUploadError("; ".join(failures))


def _replay(upload: UUID) -> None:
    began, before = time.monotonic(), sent()
    with engine().begin() as connection:
        replayed = replay(connection, upload, now=datetime.now(UTC), default_zone=settings.study_time_zone)
    seconds = time.monotonic() - began
    if replayed:
        count_replay(replayed, seconds, sent() - before)
    status = replayed.status if replayed else "unchanged"
    log.info("upload.replayed", upload=str(upload), status=status, seconds=round(seconds, 4))


def _start(upload: UUID) -> bool:
    with engine().begin() as connection:
        started = start(connection, upload, max_tries=settings.max_tries)
    if started is Start.BURIED:
        _mourn(upload)
    return started is Start.COUNTED


def _mourn(upload: UUID) -> None:
    log.error("upload.dead", upload=str(upload))
    count_burial()


def _record(upload: UUID, error: Exception, *, counted: bool) -> None:
    passing = is_passing(error)
    log.warning("upload.failed", upload=str(upload), error=describe(error), passing=passing)
    with engine().begin() as connection:
        if passing:
            postpone(connection, upload, counted=counted, wait=settings.retry_base)
        buried = not passing and fail(connection, upload, describe(error), settings)
    if buried:
        _mourn(upload)


@app.task(name=broker.DRAIN)
def drain_spool() -> None:
    """Move what Redis kept, while Postgres was away, to where it belongs."""
    if moved := spool.drain(redis(), engine()):
        log.info("spool.drained", uploads=moved)


@app.task(name=broker.SWEEP)
def sweep() -> None:
    """Ring for every upload whose time has come, but never fill the queue above its mark."""
    with engine().begin() as connection:
        beat(connection, broker.SWEEP)
    room = settings.high_water - broker.depth(app)
    if room <= 0:
        return
    with engine().begin() as connection:
        overdue = claim_overdue(connection, limit=room * broker.RING_SIZE, ring_every=settings.ring_every)
    with app.producer_pool.acquire(block=True) as producer:
        for uploads in islice(share_out(overdue, broker.RING_SIZE), room):
            with RING_FAILURES.count_exceptions():
                broker.ring(producer, app, uploads, again=True)
            log.info("uploads.rung", uploads=[str(upload) for upload in uploads])
