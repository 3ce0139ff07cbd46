"""The web process, from its start to its end."""

import logging
import signal
import sys

import structlog

from api.app import create_app
from api.server import Server
from shared.config import Settings, load_settings
from shared.errors import ConfigurationError
from shared.logs import configure_logs

log = structlog.get_logger()

WRONG_CONFIGURATION = 2


def main() -> int:
    """Serve until SIGTERM or SIGINT; refuse to start with a wrong configuration."""
    configure_logs()
    # It warns of every request that waits for a thread, of which a burst has thousands.
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
