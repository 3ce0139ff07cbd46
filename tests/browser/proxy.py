"""A proxy between browser and web process: it counts what is sent, and fails as a test says."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "server", "date", "content-length"}
UPLOADS = "/ingest/study/attempts"
# Longer than any deadline of a web process.
UPSTREAM_S = 60.0


@dataclass(frozen=True)
class Post:
    """A session that was sent; `status` is 0 where no answer went back."""

    uuid: str
    at: float
    status: int
    token: str


@dataclass
class Proxy:
    """What passes; `fault` acts on each POST of a session instead of the web process, or before it."""

    upstream: str
    fault: "Callable[[Handler], None] | None" = None
    posts: list[Post] = field(default_factory=list)
    # The ids that the web process has recorded, each as often as it said so.
    recorded: list[str] = field(default_factory=list)
    preflights: int = 0
    preflight_s: float = 0.0
    new_version: bool = False
    # Pages of a test's own, by path: their type and content.
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    url: str = ""

    def repeated(self) -> int:
        """Count the sessions that were recorded once more after their first time."""
        return len(self.recorded) - len(set(self.recorded))


class Handler(BaseHTTPRequestHandler):
    """One request, passed on or not."""

    protocol_version = "HTTP/1.1"
    # Head and body are written apart: else each answer would wait 40 ms for the browser's acknowledgement.
    disable_nagle_algorithm = True
    proxy: Proxy
    body: bytes
    # The session that is being sent, until it is among `posts`.
    post: Post | None = None

    def handle_one_request(self) -> None:
        with suppress(ConnectionError, TimeoutError):  # the browser was killed
            super().handle_one_request()

    def pass_on(self) -> None:
        """Ask the web process and answer with what it says."""
        if (answer := self.ask()) is None:
            self.answer(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"})
            return
        status, body, headers = answer
        if self.proxy.new_version and self.path.endswith("/offline.js"):
            body = body.replace(b'VERSION = "', b'VERSION = "new-version-')
        self.answer(status, body, headers)

    def ask(self) -> tuple[int, bytes, dict[str, str]] | None:
        web = HTTPConnection(urlsplit(self.proxy.upstream).netloc, timeout=UPSTREAM_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            web.request(self.command, self.path, self.body or None, headers)
            answer = web.getresponse()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in HOP_BY_HOP}
            if self.command == "POST" and answer.status in {200, 202}:
                self.proxy.recorded.append(json.loads(self.body)["client_session_uuid"])
            return answer.status, answer.read(), kept
        except (OSError, HTTPException):
            return None
        finally:
            web.close()

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_response(self, code: int, message: str | None = None) -> None:
        # Before the answer: who has it may look at `posts` at once.
        self.note(code)
        super().send_response(code, message)

    def reset(self) -> None:
        """End the connection with a TCP reset, and no answer."""
        self.note(0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.rfile.close()

    def note(self, status: int) -> None:
        """Keep the session that is being sent among the posts; once, however its answer ends."""
        if self.post:
            self.proxy.posts.append(replace(self.post, status=status))
            self.post = None

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path in self.proxy.files:
            kind, content = self.proxy.files[self.path]
            self.answer(200, content, {"Content-Type": kind})
            return
        if self.command == "OPTIONS":
            self.proxy.preflights += 1
            time.sleep(self.proxy.preflight_s)
        if self.command != "POST" or self.path != UPLOADS:
            self.pass_on()
            return
        uuid, at = json.loads(self.body)["client_session_uuid"], time.monotonic()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.post = Post(uuid, at, 0, token)
        try:
            if self.proxy.fault:
                self.proxy.fault(self)
            else:
                self.pass_on()
        finally:
            self.note(0)

    do_GET = do_POST = do_OPTIONS = do_HEAD = _serve  # noqa: N815  # the base's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing: browsers that are killed break connections."""


@contextmanager
def proxying(upstream: str) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    server = _Server(("127.0.0.1", 0), type("Handler", (Handler,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield proxy
    server.shutdown()
    server.server_close()
