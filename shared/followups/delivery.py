"""Deliver follow-ups: claim, commit, post, record."""

import structlog
from sqlalchemy import Engine

from shared.config import Settings
from shared.followups.message import Message, look
from shared.followups.post import Answer, post_all
from shared.followups.rows import Status, claim, close, fail, skip_all

log = structlog.get_logger()

# So many connections does the receiver see at once.
BATCH = 16
# As long again as a delivery may take, to record it; then the follow-up is anybody's.
LEASES = 2


def deliver_due(engine: Engine, settings: Settings) -> int:
    """Deliver a batch of what is due; return how many follow-ups that were.

    No transaction is open while the receiver is waited for. Without a receiver everything is skipped.
    """
    if not settings.followup_webhook_url:
        with engine.begin() as connection:
            return skip_all(connection, "no receiver: FOLLOWUP_WEBHOOK_URL is not set")
    messages = _claim(engine, settings)
    waiting = [message for message in messages if not message.voided]
    for message, answer in zip(waiting, post_all(waiting, settings), strict=True):
        _record(engine, message, answer, settings)
    return len(messages)


def _claim(engine: Engine, settings: Settings) -> list[Message]:
    with engine.begin() as connection:
        lease, max_tries = LEASES * settings.followup_timeout, settings.followup_max_tries
        messages = look(connection, claim(connection, limit=BATCH, lease=lease, max_tries=max_tries))
        for message in messages:
            if message.voided:
                close(connection, message.id, Status.SKIPPED, "session voided")
    return messages


def _record(engine: Engine, message: Message, answer: Answer, settings: Settings) -> None:
    """Record one answer, in a transaction of its own: with several, a voiding could lock in another order."""
    with engine.begin() as connection:
        if answer.delivered:
            close(connection, message.id, Status.DELIVERED)
        elif answer.refused:
            close(connection, message.id, Status.DEAD, answer.text)
        else:
            fail(connection, message.id, message.tries, answer.text, settings)
    fields = {"followup": str(message.id), "tries": message.tries, "code": answer.code}
    if answer.delivered:
        log.info("followup.delivered", **fields)
    else:
        log.warning("followup.failed", **fields)
