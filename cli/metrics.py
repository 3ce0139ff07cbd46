"""`metrics`: show this host's metrics where no web process does."""

from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from cli.local.up import LOOPBACK
from shared.config import Settings, load_settings
from shared.errors import ConfigurationError
from shared.metrics import CONTENT_TYPE, Page

# A connection without a request holds a thread no longer.
IDLE_S = 5.0


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True)
def metrics(port: int) -> None:
    """Show the metrics of this host's processes to Prometheus, on the loopback address alone."""
    settings = load_settings(Settings)
    if not settings.metrics_dir:
        raise ConfigurationError("METRICS_DIR: must be set, as it is for the processes")
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), _handler(Page(settings)))
    except OSError as error:
        raise ConfigurationError(f"--port: cannot be listened on: {error}") from None
    click.echo(f"http://{LOOPBACK}:{port}/metrics")
    server.serve_forever()


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S

        def handle(self) -> None:
            with suppress(ConnectionError):  # a scraper that has given up, at any moment
                super().handle()

        def do_GET(self) -> None:  # the name that http.server calls
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body = page.compose()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing of scrapes: there is one every few seconds."""

    return Handler
