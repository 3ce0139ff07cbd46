"""The web process: waitress, which reads whole requests, so that a slow sender holds a socket but no thread.

This module adds three things to waitress: what it refuses is answered as a problem, a request is timed from
its first byte, and SIGTERM loses no request that has arrived.
"""

import json
import logging
import signal
import sys
from time import monotonic
from typing import Any

import structlog
from flask import Flask
from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask

from api.app import MAX_BODY, create_app
from api.errors import MEDIA_TYPE, body_of_status
from shared.config import Settings, load_settings
from shared.errors import ConfigurationError
from shared.logs import configure_logs

# The application refuses bodies over its own limit; this limits what is buffered before that. Between the
# two, a body is read to its end, so that its sender gets the answer 413 and not a reset connection.
MAX_BUFFERED_BODY = 4 * MAX_BODY
# Many times the threads: slow senders must not exhaust the connections.
MAX_CONNECTIONS = 500
# Enough for the largest upload at 70 kbit/s, and longer than a proxy usually keeps an idle connection: so a
# proxy never sends a request on a connection that is being closed.
CONNECTION_TIMEOUT_S = 120
LOOK_FOR_TIMEOUTS_S = 10
# Several times the deadline of one request.
DRAIN_S = 10.0
# A thread that is still busy then waits for a client that does not read.
SHUTDOWN_S = 0.5
TICK_S = 0.5
WRONG_CONFIGURATION = 2

log = structlog.get_logger()


class _ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """Answer what waitress refuses by itself; its own text would quote the request."""

    def execute(self) -> None:
        error = self.request.error
        body = json.dumps(body_of_status(error.code)).encode()
        self.status = f"{error.code} {error.reason}"
        self.content_length = len(body)
        self.response_headers.append(("Content-Type", MEDIA_TYPE))
        self.set_close_on_finish()
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """Protect from clients that send slowly, and from clients that do not read the answers."""

    error_task_class = _ProblemTask
    last_activity: float

    def received(self, data: bytes) -> bool:
        """Answer only the first of several requests that were sent at once, and close the connection.

        A client that reads none of the answers would block the thread that writes them.
        """
        received: bool = super().received(data)
        with self.requests_lock:
            if len(self.requests) > 1:
                del self.requests[1:]
                self.requests[0].headers["CONNECTION"] = "close"
        return received

    def handle_read(self) -> None:
        """Time a request from its first byte: timed from the last, a slow one would never time out."""
        unfinished, since = self.request, self.last_activity
        super().handle_read()
        if unfinished is not None and self.request is unfinished:
            self.last_activity = since


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
                threads=settings.web_requests,
                connection_limit=MAX_CONNECTIONS,
                max_request_body_size=MAX_BUFFERED_BODY,
                channel_timeout=CONNECTION_TIMEOUT_S,
                cleanup_interval=LOOK_FOR_TIMEOUTS_S,
                ident="study-ingest",
            )
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"HOST, PORT: cannot be listened on: {error}") from None
        self._listeners = [each for each in self._sockets.values() if isinstance(each, BaseWSGIServer)]
        for listener in self._listeners:
            listener.channel_class = _Channel

    @property
    def port(self) -> int:
        """Return the port, which the system chose if the settings say 0."""
        return int(self._listeners[0].effective_port)

    def run(self) -> None:
        """Serve until `stop`, then answer the requests that have arrived."""
        while not self._stopping:
            self._tick()
        self._drain()
        self._listeners[0].task_dispatcher.shutdown(timeout=SHUTDOWN_S)
        wasyncore.close_all(self._sockets)

    def stop(self) -> None:
        """Ask `run` to end; signal handlers and other threads may call this."""
        self._stopping = True
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
            # Not its own close(): that would remove the trigger by which threads wake the loop.
            wasyncore.dispatcher.close(listener)
        end = monotonic() + DRAIN_S
        while (channels := self._channels()) and monotonic() < end:
            for channel in channels:
                channel.will_close |= not channel.requests and not channel.total_outbufs_len
            self._tick()

    def _channels(self) -> list[HTTPChannel]:
        return [each for each in self._sockets.values() if isinstance(each, HTTPChannel)]


def main() -> int:
    """Serve until SIGTERM or SIGINT; refuse to start with a wrong configuration."""
    configure_logs()
    # waitress warns of every request that waits for a thread; a burst has thousands.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        settings: Settings = load_settings(Settings)
        server = Server(create_app(settings), settings)
    except ConfigurationError as error:
        sys.stderr.write(f"The web process cannot start.\n{error}\n")
        return WRONG_CONFIGURATION
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    log.info("web.started", host=settings.host, port=server.port)
    server.run()
    log.info("web.stopped")
    return 0
