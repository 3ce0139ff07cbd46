"""Deliver follow-ups: claim, commit, post, record."""

import structlog
from sqlalchemy import Engine

from shared.config import Settings
from shared.followups.message import Message, look
from shared.followups.notice import look_at_notices
from shared.followups.post import Answer, post_all
from shared.followups.rows import Outbox, Status, claim, close, fail, skip_all

log = structlog.get_logger()

# So many connections does the receiver see at once.
BATCH = 16
# As long again as a delivery may take, to record it; then the follow-up is anybody's.
LEASES = 2

LOOKS = {Outbox.FOLLOWUPS: look, Outbox.NOTICES: look_at_notices}


def deliver_due(engine: Engine, settings: Settings) -> int:
    """Deliver a batch of follow-ups and one of notices that are due; return how many that were.

    No transaction is open while the receiver is waited for. Without a receiver everything is skipped.
    """
    return sum(_deliver(engine, outbox, settings) for outbox in Outbox)


def _deliver(engine: Engine, outbox: Outbox, settings: Settings) -> int:
    if not settings.followup_webhook_url:
        with engine.begin() as connection:
            return skip_all(connection, outbox, "no receiver: FOLLOWUP_WEBHOOK_URL is not set")
    messages = _claim(engine, outbox, settings)
    waiting = [message for message in messages if not message.voided]
    for message, answer in zip(waiting, post_all(waiting, settings), strict=True):
        _record(engine, outbox, message, answer, settings)
    return len(messages)


def _claim(engine: Engine, outbox: Outbox, settings: Settings) -> list[Message]:
    with engine.begin() as connection:
        lease, max_tries = LEASES * settings.followup_timeout, settings.followup_max_tries
        due = claim(connection, outbox, limit=BATCH, lease=lease, max_tries=max_tries)
        messages = LOOKS[outbox](connection, due)
        for message in messages:
            if message.voided:
                close(connection, outbox, message.id, Status.SKIPPED, "session voided")
    return messages


def _record(engine: Engine, outbox: Outbox, message: Message, answer: Answer, settings: Settings) -> None:
    """Record one answer, in a transaction of its own: with several, a voiding could lock in another order."""
    with engine.begin() as connection:
        if answer.delivered:
            close(connection, outbox, message.id, Status.DELIVERED)
        elif answer.refused:
            close(connection, outbox, message.id, Status.DEAD, answer.text)
        else:
            fail(connection, outbox, message, answer.text, settings)
    fields = {"followup": str(message.id), "tries": message.tries, "code": answer.code}
    if answer.delivered:
        log.info("followup.delivered", **fields)
    else:
        log.warning("followup.failed", **fields)
