"""The web process of every peer: it reads the body, passes it on, and answers 202, on our own web server."""

from collections.abc import Callable
from hmac import compare_digest

from flask import Flask, request
from flask.typing import ResponseReturnValue

from api.server import Server
from api.services import install_services
from cli.client import PATH
from shared.config import Settings, load_settings

settings = load_settings(Settings)


def serve(accept: Callable[[bytes], None]) -> None:
    """Serve a route which passes each body to `accept`."""
    app = Flask(__name__)

    @app.post(PATH)
    def upload() -> ResponseReturnValue:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not compare_digest(settings.viewer_tokens[0], token):
            return {"status": "unauthenticated"}, 401
        accept(request.get_data(cache=False))
        return {"status": "received"}, 202

    install_services(app, settings, None)  # the server asks the services whose bodies to read
    Server(app, settings).run()
