"""Policy: when follow-ups are delivered. Their process is their own: a hanging receiver delays no other."""

import logging
import time
from typing import Any

import structlog
from celery import signals

from shared import broker
from shared.failures import describe
from shared.webhooks import deliver_due
from worker.app import app, engine, settings
from worker.tasks import finalize_upload

log = structlog.get_logger()

# It tells of every request with its URL, which may hold a token.
logging.getLogger("httpx").setLevel(logging.WARNING)


@app.task(name=broker.FOLLOWUPS)
def deliver_followups() -> None:
    """Deliver batch after batch, until nothing is due or beat's next call is.

    So a run ends soon enough for a warm shutdown, whatever the receiver does.
    """
    end = time.monotonic() + settings.followup_every
    while deliver_due(engine(), settings) and time.monotonic() < end:
        pass


class Doorbell:
    """Ring after replays, best effort: not for each, as one run delivers the follow-ups of many.

    After a ring, or a failed one, it is silent until beat's next call.
    """

    def __init__(self) -> None:
        self._silent_until = 0.0

    def ring(self, **_: Any) -> None:
        """Ask for a run, unless that was done just now."""
        now = time.monotonic()
        if now < self._silent_until:
            return
        self._silent_until = now + settings.followup_every
        try:
            deliver_followups.apply_async(expires=settings.followup_every)
        except Exception as error:  # noqa: BLE001  # any failure to ring is beat's
            log.warning("followup.ring_failed", error=describe(error))


# By signal, which is sent after the commit and cannot fail the replay.
signals.task_success.connect(Doorbell().ring, sender=finalize_upload, weak=False)
