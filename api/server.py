"""The web process: waitress reads whole requests first, so that a slow sender occupies no thread.

This module adds to waitress:

- Refusals are answered as problems.
- A body is read only from a sender with a token, or if it is a small form of `/ops`.
- If there are too many connections, one without a token is closed: the one that has been silent longest.
- The time-out of a request begins with its first byte.
- After SIGTERM or SIGINT, requests that have arrived are still answered, for DRAIN_S at most.
"""

import gc
import json
import logging
import signal
import sys
from contextlib import suppress
from functools import partial
from operator import attrgetter
from socket import SHUT_WR
from time import monotonic, time
from typing import Any

import structlog
from flask import Flask
from waitress import create_server, wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask
from waitress.utilities import Error

from api.app import create_app
from api.auth import Senders
from api.errors import MEDIA_TYPE, body_of_status, note_refusal
from api.ops.session import PATH
from api.schemas import MAX_BODY
from api.services import services
from shared.config import Settings, load_settings
from shared.data_settings import compare_at_start
from shared.errors import ConfigurationError
from shared.logs import configure_logs

# Bytes of a body in chunks, including the sizes of the chunks; the application itself checks the exact limit.
MAX_CHUNKED_BODY = 2 * MAX_BODY
# Bytes of a form of `/ops`, which comes without a token; a login or a search needs far fewer.
MAX_FORM = 64 * 1024
# Many times the number of threads, so that slow senders do not exhaust the connections.
MAX_CONNECTIONS = 500
# Enough for the largest upload at 70 kbit/s, and longer than a proxy usually keeps an idle connection: so a
# proxy rarely sends a request on a connection that is being closed.
CONNECTION_TIMEOUT_S = 120
LOOK_FOR_TIMEOUTS_S = 10
# Seconds after the answer in which everything that the client still sends is discarded: closing with unread
# bytes would reset the connection, and the answer could be lost.
LINGER_S = 10
# Several times the deadline of an upload; a request to `/catalog` may take longer, and is then cut off.
DRAIN_S = 10.0
# Seconds that threads get after DRAIN_S. By then, a thread is busy only if its client does not read the
# answer, or if its statement takes long.
SHUTDOWN_S = 0.5
TICK_S = 0.5
WRONG_CONFIGURATION = 2

log = structlog.get_logger()


class _NotFoundError(Error):  # type: ignore[misc]  # waitress has no types
    code = 404
    reason = "Not Found"


class _ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """Answer requests that waitress itself refuses: the text of waitress would quote the request."""

    def execute(self) -> None:
        error = self.request.error
        problem = body_of_status(error.code)
        note_refusal(problem, address=self.channel.addr[0])
        body = json.dumps(problem).encode()
        self.status = f"{error.code} {error.reason}"
        self.content_length = len(body)
        self.response_headers.append(("Content-Type", MEDIA_TYPE))
        self.set_close_on_finish()
        self.write(body)


class _Request(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Judge a request when its head is complete, before any of its body is kept."""

    has_token = False
    is_cut = False
    chunked: bool
    content_length: int

    def __init__(self, adj: Adjustments, settings: Settings, senders: Senders) -> None:
        super().__init__(adj)
        self._settings = settings
        self._senders = senders

    def received(self, data: bytes) -> int:
        """Parse some bytes; return how many are consumed: all of them if the body is skipped."""
        consumed: int = super().received(data)
        # `data` is the rest of a skipped body: the connection is closed after the answer.
        return len(data) if self.is_cut else consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head. If the request will be refused anyway, skip its body."""
        try:
            super().parse_header(header_plus)
        except ValueError:  # as for a length of 5,000 digits, or a bad host: waitress would answer nothing
            raise ParsingError("") from None
        if "//" in self.path:
            # waitress and werkzeug would read such a path as `/`, or redirect to a host that the path names.
            self.error = _NotFoundError("")
        # RFC 9112, section 6.3: sender and server may disagree about where such a request ends.
        is_ambiguous = b"\ntransfer-encoding:" in header_plus.lower()
        if is_ambiguous and ("CONTENT_LENGTH" in self.headers or self.version == "1.0"):
            self.headers["CONNECTION"] = "close"
        self.has_token = self._senders.may_send_body(self.headers.get("AUTHORIZATION", ""))
        path = self.path.removeprefix(self._settings.url_prefix)
        is_form = path.startswith(f"{PATH}/") and not self.chunked
        limit = MAX_BODY if self.has_token else MAX_FORM if is_form else 0
        if self.error or self.content_length > limit or (self.chunked and not self.has_token):
            self.is_cut = True
            self.chunked, self.content_length, self.body_rcv = False, 0, None
            self.expect_continue = False
            self.headers["CONNECTION"] = "close"


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection that limits clients which send slowly or do not read the answers."""

    error_task_class = _ProblemTask
    last_activity: float
    close_when_flushed: bool
    will_close: bool
    is_lingering = False

    def __init__(
        self, settings: Settings, senders: Senders, server: BaseWSGIServer, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(server, *args, **kwargs)
        self.parser_class = partial(_Request, settings=settings, senders=senders)
        channels = server.active_channels.values()
        if len(channels) >= MAX_CONNECTIONS:
            # A connection that waits for an answer, or whose unfinished request has a token, stays open. Of
            # all others, close the one that has been silent longest.
            strangers = (each for each in channels if not each.requests and not each.has_token)
            if oldest := min(strangers, key=attrgetter("last_activity"), default=None):
                oldest.handle_close()

    @property
    def has_token(self) -> bool:
        """Return whether the request that is being read has a token."""
        return self.request is not None and self.request.has_token

    def received(self, data: bytes) -> bool:
        """Answer only the first of several requests that were sent at once, and close the connection.

        A client that reads none of the answers would block the thread that writes them.
        """
        if self.is_lingering:
            return False
        received: bool = super().received(data)
        with self.requests_lock:
            if len(self.requests) > 1:
                del self.requests[1:]
                self.requests[0].headers["CONNECTION"] = "close"
        return received

    def handle_read(self) -> None:
        """Count a request's time-out from its first byte: later bytes must not begin the time-out again."""
        unfinished, since = self.request, self.last_activity
        super().handle_read()
        if self.is_lingering or (unfinished is not None and self.request is unfinished):
            self.last_activity = since

    def handle_write(self) -> None:
        """Send answers; after the last answer, close our side, and wait for the client to close its side."""
        if self.close_when_flushed and self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        if self.close_when_flushed and not self.total_outbufs_len and not self.will_close:
            self.close_when_flushed, self.is_lingering = False, True
            self.last_activity = time() - CONNECTION_TIMEOUT_S + LINGER_S
            try:
                self.socket.shutdown(SHUT_WR)
            except OSError:  # the client is gone
                self.will_close = True
        super().handle_write()


class Server:
    """Serve an application on the host and port of the settings."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._sockets: dict[int, Any] = {}
        self._stopping = False
        try:
            create_server(
                app,
                map=self._sockets,
                host=settings.host,
                port=settings.port,
                clear_untrusted_proxy_headers=False,  # api/proxies.py reads them
                threads=settings.web_requests,
                # Reached only if all connections have tokens; waitress counts our own sockets, too.
                connection_limit=MAX_CONNECTIONS + 10,
                max_request_body_size=MAX_CHUNKED_BODY,
                channel_timeout=CONNECTION_TIMEOUT_S,
                cleanup_interval=LOOK_FOR_TIMEOUTS_S,
                ident="study-ingest",
            )
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"HOST, PORT: cannot listen on this address: {error}: set another address or port"
            ) from None
        with app.app_context():
            senders = services().senders
            self._app_stopping = services().stopping
        self._listeners = [each for each in self._sockets.values() if isinstance(each, BaseWSGIServer)]
        for listener in self._listeners:
            listener.channel_class = partial(_Channel, settings, senders)

    @property
    def port(self) -> int:
        """Return the port, which the system chose if the settings say 0."""
        return int(self._listeners[0].effective_port)

    def run(self) -> None:
        """Serve until `stop` is called; then answer the requests that have arrived, for DRAIN_S at most."""
        while not self._stopping:
            self._tick()
        self._app_stopping.set()
        self._drain()
        self._listeners[0].task_dispatcher.shutdown(timeout=SHUTDOWN_S)
        wasyncore.close_all(self._sockets)

    def stop(self) -> None:
        """Ask `run` to end; signal handlers and other threads may call this."""
        self._stopping = True
        with suppress(OSError):  # `run` has ended already, and has closed the trigger
            self._listeners[0].pull_trigger()

    def _tick(self, wait: float = TICK_S) -> None:
        wasyncore.loop(timeout=wait, use_poll=True, map=self._sockets, count=1)

    def _drain(self) -> None:
        # Accept and read the connections that wait in the kernel; a tick accepts one.
        sockets = 0
        while sockets < len(self._sockets):
            sockets = len(self._sockets)
            self._tick(wait=0)
        for listener in self._listeners:
            # Not the listener's own close(): that would remove the trigger by which threads wake the loop.
            wasyncore.dispatcher.close(listener)
        end = monotonic() + DRAIN_S
        while monotonic() < end:
            channels = [each for each in self._sockets.values() if isinstance(each, HTTPChannel)]
            if not channels:
                return
            for channel in channels:
                channel.will_close |= not channel.requests and not channel.total_outbufs_len
            self._tick()


def main() -> int:
    """Serve until SIGTERM or SIGINT; refuse to start with a wrong configuration."""
    configure_logs()
    # waitress warns of every request that waits for a thread; a burst has thousands.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        settings: Settings = load_settings(Settings)
        compare_at_start(settings)
        server = Server(create_app(settings), settings)
    except ConfigurationError as error:
        sys.stderr.write(f"The web process cannot start.\n{error}\n")
        return WRONG_CONFIGURATION
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    gc.freeze()
    gc.enable()
    log.info("web.started", host=settings.host, port=server.port)
    server.run()
    log.info("web.stopped")
    return 0
