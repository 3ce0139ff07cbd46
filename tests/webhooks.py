"""Webhooks to deliver, and what became of them."""

from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, text

from shared.config import Settings
from shared.models import Outbox
from tests.factories import RIGHT, WRONG, answer, ingest, load, rows, upload
from tests.processes import PATIENCE_S
from tests.receiver import NEW_SECRET
from worker.sweeper import WebhookSender

NINE, TEN, ELEVEN = (f"2026-11-20T{hour:02}:00:00Z" for hour in (9, 10, 11))
MAX_TRIES = 3


def configured(settings: Settings, **changes: Any) -> Settings:
    usual = {"webhook_secrets": SecretStr(NEW_SECRET), "webhook_max_tries": MAX_TRIES}
    return Settings.model_validate(settings.model_dump() | usual | changes)


def finished_session(engine: Engine) -> dict[str, Any]:
    """Ingest an upload of one topic: a miss, and an unsure right answer to a question with two public ids."""
    load(engine)
    sent = upload(answer("q111", NINE, WRONG), answer("second110", TEN, RIGHT, unsure=True))
    ingest(engine, sent)
    return sent


def deliver_due(engine: Engine, settings: Settings) -> int:
    """Deliver what is due, up to a sweep's share, as a sweeper does; return the number of these webhooks."""
    deliveries = WebhookSender(engine, settings, on_free=lambda: None)
    started = deliveries.start_due()
    deliveries.wait(PATIENCE_S)
    return started


def let_all_be_due(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE outbox SET next_try_at = now() WHERE status = 'waiting'"))


def keep_only(engine: Engine, kind: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox WHERE kind <> :kind"), {"kind": kind})


def fates(engine: Engine) -> list[tuple[str, int, str | None]]:
    """Return status, tries and last error of each webhook."""
    return [(row["status"], row["tries"], row["last_error"]) for row in rows(engine, Outbox)]
