"""How new uploads are put together into messages."""

import threading
import time
from types import SimpleNamespace
from uuid import uuid4

import pytest

import api.publisher
from api.publisher import Publisher
from shared import broker
from shared.broker import MESSAGE_SIZE
from shared.config import Settings
from tests.processes import until

MESSAGES = 10


@pytest.mark.usefixtures("broker_url")
def test_a_full_message_waits_for_no_more_uploads(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    all_wait = threading.Event()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        all_wait.wait()

    clock = SimpleNamespace(sleep=pause, monotonic=time.monotonic)
    monkeypatch.setattr(api.publisher, "time", clock)
    app = broker.make_celery(settings)
    publisher = Publisher(app, pause=1.0, queue_limit=settings.queue_limit)
    for _ in range(MESSAGES * MESSAGE_SIZE):
        publisher.enqueue(uuid4())
    all_wait.set()
    until(lambda: broker.queue_length(app) == MESSAGES, "all are enqueued")
    assert len(pauses) <= 1  # the first upload may have been alone
