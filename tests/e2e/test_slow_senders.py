"""Senders that trickle hold sockets, and not for ever; they hold no thread, and keep nobody waiting."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine, text

from api import server
from api.app import create_app
from cli.client import PATH, Answer, Sender
from shared.config import Settings
from tests import factories
from tests.processes import Processes

SENDERS = 40
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer viewer-token-of-tests\r\n"
TYPE = "Content-Type: application/json\r\n"
# Cut off within the head, within an announced body, and within a chunk.
BEGINNINGS = [
    HEAD,
    HEAD + TYPE + "Content-Length: 100000\r\n\r\n{",
    HEAD + TYPE + "Transfer-Encoding: chunked\r\n\r\n10000\r\n{",
]
PAUSE_S = 0.05


def trickle(sender: socket.socket, stop: threading.Event) -> None:
    """Send a byte now and then, until stopped or disconnected."""
    try:
        while not stop.wait(PAUSE_S):
            sender.sendall(b"x")
    except ConnectionError:
        stop.set()


@contextmanager
def trickling(port: int, beginning: str) -> Iterator[threading.Event]:
    """Begin a request that never ends; yield what is set once the server cuts it off."""
    cut_off = threading.Event()
    with closing(socket.create_connection(("127.0.0.1", port))) as sender:
        sender.sendall(beginning.encode())
        thread = threading.Thread(target=trickle, args=[sender, cut_off])
        thread.start()
        try:
            yield cut_off
        finally:
            cut_off.set()
            thread.join()


def test_forty_slow_senders_delay_no_other(engine: Engine, house: Processes, viewer: Sender) -> None:
    factories.load_many(engine)
    port = urlsplit(str(viewer.http.base_url)).port or 0
    assert house.settings.web_requests < SENDERS
    rng = random.Random(1)
    with ExitStack() as stack:
        slow = [stack.enter_context(trickling(port, BEGINNINGS[n % 3])) for n in range(SENDERS)]
        uploads = [factories.random_upload(rng, 1) for _ in range(20)]
        assert [viewer.send(factories.body(upload)).answer for upload in uploads] == [Answer.RECEIVED] * 20
        assert not any(sender.is_set() for sender in slow), "all of them trickled meanwhile"
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM uploads")) == 20


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=["head", "body", "chunk"])
def test_a_request_that_never_ends_is_cut_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, beginning: str
) -> None:
    monkeypatch.setattr(server, "CONNECTION_TIMEOUT_S", 1)
    monkeypatch.setattr(server, "LOOK_FOR_TIMEOUTS_S", 1)
    web = server.Server(create_app(settings), settings.model_copy(update={"port": 0}))
    thread = threading.Thread(target=web.run)
    thread.start()
    try:
        with trickling(web.port, beginning) as cut_off:
            assert cut_off.wait(60), "it was cut off, though bytes kept coming"
    finally:
        web.stop()
        thread.join()
