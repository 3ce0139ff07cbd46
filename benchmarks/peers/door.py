"""The door that every peer has: it reads the body, has it taken, and answers 202, on our own web server."""

from collections.abc import Callable
from hmac import compare_digest

from flask import Flask, request
from flask.typing import ResponseReturnValue

from api.server import Server
from cli.client import PATH
from shared.config import Settings, load_settings

settings = load_settings(Settings)


def serve(take: Callable[[bytes], None]) -> None:
    """Serve a door behind which `take` does the work of a peer."""
    app = Flask(__name__)

    @app.post(PATH)
    def accept() -> ResponseReturnValue:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not compare_digest(settings.viewer_tokens[0], given):
            return {"status": "unauthenticated"}, 401
        take(request.get_data(cache=False))
        return {"status": "received"}, 202

    Server(app, settings).run()
