"""Do the periodic work in the background: `python -m worker.sweeper`.

Every SWEEP_EVERY seconds the loop writes its heartbeat, enqueues overdue uploads and delivers due webhooks,
each webhook in a thread of its own. If the settings say so, the loop also adds a webhook `progress.changed`
after progress has changed, and purges old payloads. Every half second it moves the spool, if there is one,
into Postgres. Every minute it abandons idle live sessions. Once a day, if the catalog is a document server's,
it logs what `catalog reconcile` would repair: answers that the catalog grades differently by now, and
learners who are gone.

Several sweepers may run: each claims its rows by leases, or by locks that the others skip; only one at a time
moves the spool, and only one looks for what to reconcile. A store that is away stops only the jobs that need
it.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from itertools import islice
from queue import Empty, SimpleQueue

import httpx
import structlog
from redis import Redis
from sqlalchemy import Engine, text

from shared import (
    broker,
    catalog_reconcile,
    db,
    failures,
    health,
    logs,
    metrics,
    retention,
    retries,
    spool,
    webhooks,
)
from shared.config import Settings, load_settings
from shared.data_settings import compare_at_start
from shared.errors import ConfigurationError
from shared.live.sessions import abandon_idle
from shared.uploads import Status

# The limit of connections to the receiver that one sweeper has at once.
MAX_WEBHOOKS = 16
# Connections to Postgres: one for the loop's statements, one for the spool's lock, and one to record the
# answers to webhooks.
CONNECTIONS = 3
# Seconds; nobody waits for an idle session to be abandoned.
IDLE_EVERY_S = 60.0
# Once a day, one sweeper looks for what to reconcile; every RECONCILE_EVERY_S seconds, each sweeper checks
# whether a day has passed since the last look.
RECONCILE_EVERY_S = 300.0
# Limit in seconds of each statement that compares learners: the sweeper does nothing else meanwhile.
COMPARE_S = 5.0
_BEGIN_RECONCILING = text("""
    INSERT INTO heartbeats (name, beaten_at) VALUES ('reconcile', now())
    ON CONFLICT (name) DO UPDATE SET beaten_at = now()
    WHERE heartbeats.beaten_at NOT BETWEEN now() - interval '1 day' AND clock_timestamp() RETURNING true
""")
# Seconds; short, as spooled uploads are in Redis only.
SPOOL_EVERY_S = 0.5
# A stopping process waits for a webhook's time-out and this many seconds, so that the answer is recorded.
RECORD_S = 4.0
# If a stopping process hangs, SIGALRM ends the process after a webhook's time-out and this many seconds.
GRACE_S = 8.0

log = structlog.get_logger()


class Job:
    """A periodic part of the sweeper's work; if `do` returns True, the job is run again at once.

    If the job fails several times in a row, only the first failure and the recovery are logged. The other
    jobs go on.
    """

    def __init__(self, name: str, do: Callable[[], bool | None], every: float) -> None:
        self._name = name
        self._do = do
        self._every = every
        self._failing = False
        self.due = 0.0

    def run(self) -> None:
        """Do the job, and compute when it is due again."""
        self.due = time.monotonic() + self._every
        try:
            has_more = self._do()
        except Exception as error:  # noqa: BLE001  # whatever it is: the next sweep tries again
            if not self._failing:
                log.warning("sweeper.failing", job=self._name, error=failures.describe(error))
            self._failing = True
            return
        if self._failing:
            log.info("sweeper.recovered", job=self._name)
        self._failing = False
        if has_more:
            self.due = 0.0


class WebhookSender:
    """Deliver webhooks, each on its own thread, so that a webhook that hangs does not delay the loop.

    Other webhooks wait only while all MAX_WEBHOOKS threads are busy. `on_free` is called when a thread ends,
    if there may be webhooks that wait for a free thread.
    """

    def __init__(self, engine: Engine, settings: Settings, on_free: Callable[[], object]) -> None:
        self._engine = engine
        self._settings = settings
        self._on_free = on_free
        self._tls = httpx.create_ssl_context()  # for all deliveries: making it takes longer than a delivery
        self._threads: set[threading.Thread] = set()
        self._more_may_be_due = False

    def start_due(self) -> int:
        """Claim due webhooks, at most one for each free thread; start their deliveries; return how many.

        Without WEBHOOK_URL, skip all waiting webhooks instead.
        """
        if not self._settings.webhook_url:
            with self._engine.begin() as connection:
                webhooks.skip_all(connection, "no receiver: WEBHOOK_URL is not set")
            return 0
        free = MAX_WEBHOOKS - len(self._threads)
        if not free:
            return 0
        with self._engine.begin() as connection:
            claimed = webhooks.claim(connection, self._settings, limit=free)
        self._more_may_be_due = len(claimed) == free
        for webhook in claimed:
            thread = threading.Thread(target=self._deliver, args=[webhook], name="webhook", daemon=True)
            self._threads.add(thread)
            try:
                thread.start()
            except BaseException:  # no thread can start: the other webhooks are due after their leases
                self._threads.discard(thread)
                raise
        return len(claimed)

    def wait(self, seconds: float) -> None:
        """Wait until every delivery has ended, but no longer than this number of seconds."""
        end = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(0.0, end - time.monotonic()))

    def _deliver(self, webhook: webhooks.Webhook) -> None:
        try:
            # Not `asyncio.run`, which would wait for a name server that does not answer.
            with metrics.WEBHOOK_SECONDS.time(), closing(asyncio.new_event_loop()) as loop:
                answer = loop.run_until_complete(webhooks.post(webhook, self._settings, self._tls))
                # If only the beginning of the answer was read, this closes the answer's reader.
                loop.run_until_complete(loop.shutdown_asyncgens())
            result = "delivered" if answer.delivered else "refused" if answer.refused else "failed"
            metrics.WEBHOOK_TRIES.labels(result).inc()
            with self._engine.begin() as connection:
                webhooks.record(connection, webhook, answer, self._settings)
            if answer.delivered:
                log.info("webhook.delivered", webhook=str(webhook.id), tries=webhook.tries)
            else:
                log.warning("webhook.failed", webhook=str(webhook.id), tries=webhook.tries, code=answer.code)
        except Exception as error:  # noqa: BLE001  # the lease ends, and the webhook is sent again
            log.warning(
                "webhook.answer_not_recorded", webhook=str(webhook.id), error=failures.describe(error)
            )
        finally:
            self._threads.discard(threading.current_thread())
            if self._more_may_be_due:
                self._on_free()


class Sweeper:
    """The loop; `stop` ends it from another thread or a signal handler."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = db.make_engine(settings, pool_size=CONNECTIONS, pre_ping=True)
        self._app = broker.make_celery(settings)
        self._webhooks = WebhookSender(self._engine, settings, self._wake_up_to_deliver)
        every = settings.sweep_every
        # The id of a transaction: changes before it are announced. At 0, those that came while no sweeper ran
        # are announced, too.
        self._announced_until_xid = "0"
        self._delivering = Job("webhooks", lambda: bool(self._webhooks.start_due()), every)
        self._purging: Iterator[int] = iter(())
        self._differences: Iterator[list[catalog_reconcile.Found]] = iter(())
        self._jobs = [
            Job("heartbeat", self._beat, every),
            Job("enqueue", self._enqueue, every),
            self._delivering,
            Job("idle sessions", self._abandon_idle, max(every, IDLE_EVERY_S)),
            Job("reconcile", self._log_differences, RECONCILE_EVERY_S),
        ]
        if settings.redis_url:
            redis = spool.connect(settings.redis_url, spool.PROCESS_TIMEOUT_S)
            self._jobs.append(Job("spool", lambda: self._drain(redis), min(every, SPOOL_EVERY_S)))
        if settings.webhook_url and settings.webhook_progress:
            self._jobs.append(Job("progress", self._announce_progress, every))
        if days := settings.upload_retention_days:
            older_than = timedelta(days=days)
            self._jobs.append(Job("retention", lambda: self._purge(older_than), every))
        # Not an Event: a signal handler that sets an Event could wait for a lock that the loop itself holds.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_stopping = False
        self._wait_until = 0.0

    def run(self) -> None:
        """Sweep until `stop` is called; then wait for the webhooks that are under way."""
        while not self._is_stopping:
            for job in self._jobs:
                if job.due <= time.monotonic() and not self._is_stopping:
                    job.run()
            with suppress(Empty):
                self._wake.get(timeout=max(0.0, min(each.due for each in self._jobs) - time.monotonic()))
        self._webhooks.wait(self._wait_until - time.monotonic())
        self._engine.dispose()

    def stop(self) -> None:
        """Let the loop end after its current job."""
        self._wait_until = time.monotonic() + self._settings.webhook_timeout + RECORD_S
        self._is_stopping = True
        self._wake.put(None)

    def _wake_up_to_deliver(self) -> None:
        self._delivering.due = 0.0
        self._wake.put(None)

    def _beat(self) -> None:
        with self._engine.begin() as connection:
            health.beat(connection, health.SWEEPER)

    def _announce_progress(self) -> None:
        with self._engine.begin() as connection:
            self._announced_until_xid = webhooks.announce_progress(connection, self._announced_until_xid)

    def _enqueue(self) -> None:
        """Enqueue the overdue uploads for which the queue has room below its limit."""
        queue_limit = self._settings.queue_limit
        with self._engine.begin() as connection:
            retries.hasten(connection, self._settings, limit=queue_limit * broker.MESSAGE_SIZE)
            if not retries.any_overdue(connection):
                return
        with metrics.ENQUEUE_FAILURES.count_exceptions():
            room = queue_limit - broker.queue_length(self._app)
        if room <= 0:
            return
        with self._engine.begin() as connection:
            overdue = retries.claim_overdue(
                connection,
                limit=room * broker.MESSAGE_SIZE,
                again_after=self._settings.enqueue_again_after,
            )
        with (
            metrics.ENQUEUE_FAILURES.count_exceptions(),
            self._app.producer_pool.acquire(block=True) as producer,
        ):
            # Claimed rows that do not fit into `room` messages wait until their leases end.
            for uploads in islice(retries.split_into_messages(overdue, broker.MESSAGE_SIZE), room):
                broker.enqueue(producer, self._app, uploads, again=True)
                log.info("uploads.enqueued_by_sweeper", uploads=[str(upload) for upload in uploads])

    def _abandon_idle(self) -> bool:
        with self._engine.begin() as connection:
            abandoned = abandon_idle(
                connection,
                now=db.now(connection),
                idle=timedelta(seconds=self._settings.session_idle),
                default_zone=self._settings.study_time_zone,
            )
        if abandoned:
            log.info("quiz_sessions.abandoned", count=abandoned)
        return bool(abandoned)

    def _purge(self, older_than: timedelta) -> None:
        """Purge the next few uploads or conflicts that are old enough; after the last ones, begin again."""
        purged = next(self._purging, None)
        if purged is None:
            self._purging = retention.purge(self._engine, Status.INGESTED, older_than=older_than)
        elif purged:
            log.info("payloads.purged", count=purged)

    def _log_differences(self) -> bool:
        """Log what `catalog reconcile` would repair for the next learners; once a day, begin again.

        Return whether more learners may be left; if so, this runs again after the other due jobs.
        """
        if (differences := next(self._differences, None)) is None:
            with self._engine.begin() as connection:
                begins = not db.catalog_is_ours(connection) and db.scalar(connection, _BEGIN_RECONCILING)
            limit = min(COMPARE_S, self._settings.task_time_limit)
            self._differences = catalog_reconcile.Differences(self._engine, limit) if begins else iter(())
            return bool(begins)
        for each in differences:
            if isinstance(each, catalog_reconcile.Unchecked):
                log.warning("reconcile.learner_unchecked", learner=each.user_id, error=each.error)
            elif each.editions:
                attempts = sum(each.editions.values())
                log.warning("reconcile.attempts_graded_by_old_key", learner=each.user_id, attempts=attempts)
            else:
                log.warning("reconcile.learner_gone", learner=each.user_id)
        return True

    def _drain(self, redis: Redis) -> bool:
        """Move a batch of the spool into Postgres."""
        if spool.is_empty(redis):
            return False
        with self._engine.begin() as connection:
            return spool.try_lock(connection) and spool.drain(redis, self._engine) > 0


def main() -> None:
    """Run until SIGTERM or SIGINT; then end within WEBHOOK_TIMEOUT plus GRACE_S seconds."""
    logs.configure_logs()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each URL, which may contain a token
    try:
        settings = load_settings(Settings)
        compare_at_start(settings)
    except ConfigurationError as error:
        sys.exit(f"study-ingest: {error}")
    sweeper = Sweeper(settings)

    def stop(*_: object) -> None:
        sweeper.stop()
        # A job that hangs for longer, as on a frozen Postgres, ends with the process; its leases expire.
        signal.setitimer(signal.ITIMER_REAL, settings.webhook_timeout + GRACE_S)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    log.info("sweeper.started")
    sweeper.run()
    log.info("sweeper.stopped")
    # A look-up of the receiver's name may hang, and a normal exit would wait for the look-up.
    os._exit(0)


if __name__ == "__main__":
    main()
