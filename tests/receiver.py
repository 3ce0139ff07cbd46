"""A real receiver of webhooks: it answers as a test tells it to, and keeps what it was sent."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook

OLD_SECRET = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZA=="
NEW_SECRET = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldw=="
TOKEN = "token-in-the-url"

Behaviour = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Request:
    """A received request; `body` is unchanged, so that its signature can be verified."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded


@dataclass
class Receiver:
    """Answer each request by the next of `behaviours`, and every later one by the last of them."""

    server: ThreadingHTTPServer
    behaviours: list[Behaviour] = field(default_factory=lambda: [status(200)])
    requests: list[Request] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/webhooks?{TOKEN}"

    def verified(self, secret: str = NEW_SECRET) -> list[Request]:
        """Return the received requests; raise an error if one has no signature of this secret."""
        for request in self.requests:
            Webhook(secret).verify(request.body, request.headers)
        return self.requests

    def then(self, *behaviours: Behaviour) -> Self:
        self.behaviours[:] = behaviours
        return self

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(Request(handler.path, headers, body))
        with self.turn:
            behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        with suppress(OSError):  # the sender may leave before the end
            behave(handler)


def status(code: int, body: bytes = b"", **headers: str) -> Behaviour:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def first(do: Callable[[], object], then: Behaviour) -> Behaviour:
    """Do something while the sender waits, then answer."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        do()
        then(handler)

    return answer


def hang(receiver: Receiver) -> Behaviour:
    """Answer 200, but not before the receiver is released."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        receiver.released.wait()
        status(200)(handler)

    return answer


def trickle(receiver: Receiver, beginning: bytes) -> Behaviour:
    """Answer with a beginning, and then byte by byte, until the receiver is released."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(beginning)
        while not receiver.released.wait(0.02):
            handler.wfile.write(b"x")

    return answer


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.handle(self)

        def do_GET(self) -> None:
            receiver.handle(self)

        def log_message(self, *_: Any) -> None:
            """Keep the test's output quiet."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # a batch comes all at once

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server)
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            server.shutdown()
            thread.join()
