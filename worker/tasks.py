"""The Celery task: replay the uploads of a message, count starts from repeated messages, record failures."""

import time
from collections import Counter
from typing import Any
from uuid import UUID

import structlog
from celery import Task
from sqlalchemy import text

from shared import broker, db, metrics, retries
from shared.errors import FailedUploadError
from shared.failures import describe, is_transient
from shared.replay import Replayed, replay
from shared.uploads import Status
from worker.app import app, engine, settings

log = structlog.get_logger()

# The share of the time limit in which a message may start replays; the rest is for the last replay to end.
MESSAGE_SHARE = 0.25

# Several uploads hold the locks of several learners, so they wait only briefly for a lock of another replay.
_SHORT_WAIT = text("SET LOCAL lock_timeout = '500ms'")


@app.task(name=broker.REPLAY, bind=True)
def replay_uploads(self: Task[Any, None], *client_session_uuids: str, again: bool = False) -> None:
    """Replay the uploads of a message in one transaction; if it fails, replay each upload alone.

    An upload is also replayed alone if it is the only one of its message, or if the message is repeated and
    the upload must not share a transaction. Uploads that are not started within MESSAGE_SHARE of the time
    limit are left to the sweeper. If the replay of a single upload fails, the failure is recorded; if the
    upload is not dead then, the sweeper enqueues the upload again.

    A message is repeated if the sweeper sent it (`again`), or if the broker delivers it again. An earlier
    start may have killed its worker: so each start from a repeated message is counted before it begins. A
    start from any other message is not counted here, as `tries` begins at 1.
    """
    is_repeat = again or bool((self.request.delivery_info or {}).get("redelivered"))
    end = time.monotonic() + settings.task_time_limit * MESSAGE_SHARE
    waiting = [UUID(each) for each in client_session_uuids]
    failures = []
    try:
        replayed, no_count_needed = _replay_together(waiting, is_repeat=is_repeat)
        for upload in waiting:
            if upload in replayed:
                continue
            if time.monotonic() > end:
                break  # the sweeper enqueues the rest
            if is_repeat and upload not in no_count_needed and not _count_start(upload):
                continue
            try:
                _replay([upload])
            except Exception as error:  # noqa: BLE001  # whatever it is: recorded, and raised below
                failures.append(describe(error))
                _record(upload, error, counted=is_repeat)
    except Exception as error:  # noqa: BLE001  # this error is not recorded: the sweeper enqueues the rest
        failures.append(describe(error))
    if failures:  # raised without a cause: exceptions of libraries quote statements and values
        raise FailedUploadError("; ".join(failures))


def _count_start(upload: UUID) -> bool:
    with engine().begin() as connection:
        result = retries.count_start(connection, upload, max_tries=settings.max_tries)
    if result is retries.StartResult.DEAD:
        _report_dead(upload)
    return result is retries.StartResult.COUNTED


def _replay_together(uploads: list[UUID], *, is_repeat: bool) -> tuple[list[UUID], list[UUID]]:
    """Replay several uploads in one transaction; return (replayed, no_count_needed).

    `replayed`: the uploads that are done, none if the transaction fails or the message has only one upload;
    the caller replays the others alone. `no_count_needed`: the uploads that the caller may replay without
    counting a start; the caller counts the start of every other upload before it replays that upload.
    """
    if len(uploads) <= 1:
        return [], []
    no_count_needed = uploads
    if is_repeat:
        with engine().begin() as connection:
            no_count_needed = retries.count_starts(connection, uploads, max_tries=settings.max_tries)
    if not no_count_needed:
        return [], []
    try:
        _replay(no_count_needed)
    except Exception as error:  # noqa: BLE001  # whatever it is: each upload is replayed alone
        names = [str(upload) for upload in no_count_needed]
        log.info("uploads.not_replayed_together", uploads=names, error=describe(error))
        if not is_repeat or not is_transient(error):
            return [], no_count_needed
        # A transient fault, such as a locked learner, must not count as a try: the counts are taken back.
        # When an upload is then started alone, `_count_start` counts that start. The message may end before
        # all uploads are started.
        with engine().begin() as connection:
            retries.take_back(connection, no_count_needed)
        return [], []
    return no_count_needed, no_count_needed


def _replay(uploads: list[UUID]) -> None:
    began, before = time.monotonic(), db.statements_sent()
    with engine().begin() as connection:
        if len(uploads) > 1:
            db.execute(connection, _SHORT_WAIT)
        done = replay(connection, uploads, now=db.now(connection), default_zone=settings.study_time_zone)
    seconds = time.monotonic() - began
    if done:
        metrics.REPLAY_STATEMENTS.observe(db.statements_sent() - before)
    for upload in uploads:
        if replayed := done.get(upload):
            _observe(replayed, seconds / len(uploads))
            log.info(
                "upload.replayed",
                upload=str(upload),
                status=str(replayed.status),
                transaction_seconds=round(seconds, 4),
                transaction_uploads=len(uploads),
            )
        else:
            log.info("upload.nothing_to_replay", upload=str(upload))


def _observe(replayed: Replayed, seconds: float) -> None:
    metrics.REPLAY_SECONDS.observe(seconds)
    metrics.LATE_FOLDS.inc(replayed.late_folds)
    if plan := replayed.plan:
        for fate, times in Counter(plan.fates).items():
            metrics.ATTEMPTS.labels(fate).inc(times)
    if plan and replayed.status is Status.INGESTED:
        attempts = [attempt for topic in plan.topics.values() for attempt in topic]
        for outcome, times in Counter(attempt.outcome for attempt in attempts).items():
            metrics.ANSWERS.labels(outcome).inc(times)
        metrics.CLOCK_ADJUSTED.inc(sum(attempt.clock_adjusted for attempt in attempts))
    # Counted last: a scrape that shows the ended upload shows its attempts, too.
    metrics.ENDED.labels(replayed.status).inc()


def _record(upload: UUID, error: Exception, *, counted: bool) -> None:
    transient, described = is_transient(error), describe(error)
    log.warning("upload.replay_failed", upload=str(upload), error=described, transient=transient)
    with engine().begin() as connection:
        if transient:
            retries.postpone(connection, upload, described, counted=counted, wait=settings.retry_base)
        dead = not transient and retries.fail(connection, upload, described, settings)
    if dead:
        _report_dead(upload)


def _report_dead(upload: UUID) -> None:
    log.error("upload.dead", upload=str(upload))
    metrics.ENDED.labels(Status.DEAD).inc()
