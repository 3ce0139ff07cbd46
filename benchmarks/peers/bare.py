"""The least that a route can do: read the body and answer 202, on our own web server."""

from flask import Flask, request
from flask.typing import ResponseReturnValue

from api.server import Server
from api.services import install_services
from cli.client import PATH
from shared.config import Settings, load_settings

app = Flask(__name__)


@app.post(PATH)
def accept() -> ResponseReturnValue:
    """Read the body, and answer without parsing it."""
    request.get_data(cache=False)
    return {"status": "received"}, 202


if __name__ == "__main__":
    settings = load_settings(Settings)
    install_services(app, settings, None)  # the server asks the services whose bodies to read
    Server(app, settings).run()
