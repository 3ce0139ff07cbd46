"""When a worker's events of tasks are sent: on kombu's own loop, with a dispatcher that counts."""

from collections.abc import Callable, Iterator

import pytest
from kombu.asynchronous import Hub

from worker.consumer import Consumer


class Dispatcher:
    sent = 0

    def flush(self) -> None:
        self.sent += 1


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher()


@pytest.fixture
def consumer(hub: Hub, dispatcher: Dispatcher) -> Consumer:
    """Make a consumer without a worker around it."""
    consumer = Consumer.__new__(Consumer)
    consumer.hub, consumer.event_dispatcher = hub, dispatcher
    return consumer


def test_events_are_sent_once_after_a_pause(consumer: Consumer, hub: Hub, dispatcher: Dispatcher) -> None:
    for _ in range(3):
        consumer.on_send_event_buffered()
    assert dispatcher.sent == 0
    while not dispatcher.sent:
        hub.run_once()
    assert not hub.timer.queue
    assert dispatcher.sent == 1
    consumer.on_send_event_buffered()
    assert hub.timer.queue


@pytest.mark.parametrize("leave", [Hub.reset, Hub.close])
def test_events_are_sent_when_the_loop_ends_or_connects_again(
    consumer: Consumer, hub: Hub, dispatcher: Dispatcher, leave: Callable[[Hub], None]
) -> None:
    consumer.on_send_event_buffered()
    leave(hub)
    assert dispatcher.sent == 1
