"""The worker, weakened: a message that holds the upload is acknowledged before it is worked off."""

from datetime import UTC, datetime

from shared.replay import replay
from shared.uploads import Delivery, receive
from worker.app import app, engine, settings

INGEST = "ingest_without_row"
app.conf.worker_consumer = "celery.worker.consumer:Consumer"  # ours refuses a message of another form


@app.task(name=INGEST, acks_late=False)
def ingest(payload: str) -> None:
    """Record and replay an upload, if nothing happens on the way."""
    delivery = Delivery.read(payload.encode())
    with engine().begin() as connection:
        receive(connection, [delivery], first_try_after=settings.first_try_after)
    now, zone = datetime.now(UTC), settings.study_time_zone
    with engine().begin() as connection:
        replay(connection, [delivery.client_session_uuid], now=now, default_zone=zone)
