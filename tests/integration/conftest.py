"""A web process for a test, in a thread; every answer is checked against its own API document."""

import json
import re
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from flask_openapi3 import OpenAPI
from jsonschema import Draft202012Validator
from redis import Redis
from sqlalchemy import Engine

from api.app import create_app
from api.server import Server
from shared.broker import REPLAY_QUEUE
from shared.config import Settings, StoreSettings
from shared.db import make_engine
from tests import factories
from tests.clients import Clock, Front
from tests.processes import PATIENCE_S

TOKEN = {"Authorization": "Bearer viewer-token-of-tests"}


@pytest.fixture
def serve() -> Iterator[Callable[[OpenAPI, Settings], httpx.Client]]:
    with ExitStack() as stack:
        yield lambda app, settings: stack.enter_context(_serving(app, settings))


@pytest.fixture
def web(serve: Callable[[OpenAPI, Settings], httpx.Client], settings: Settings) -> httpx.Client:
    return serve(create_app(settings), settings)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def front(
    serve: Callable[[OpenAPI, Settings], httpx.Client], settings: Settings, engine: Engine, clock: Clock
) -> Front:
    """Serve the live side to the first learner of a small world."""
    factories.load(engine)
    return Front(serve(create_app(settings, clock), settings))


@pytest.fixture
def catalog(engine: Engine) -> None:
    """Load three learners and their questions."""
    factories.load(engine)


@pytest.fixture
def pooled(database_url: str) -> Iterator[Engine]:
    """Connect as the processes do, and keep the connections."""
    engine = make_engine(StoreSettings(database_url=database_url))
    yield engine
    engine.dispose()


@pytest.fixture
def leaves_nothing(front: Front, engine: Engine) -> Iterator[None]:
    """Prove that nothing that is refused changes a row."""
    assert front
    before = factories.everything(engine)
    yield
    assert factories.everything(engine) == before


@contextmanager
def _serving(app: OpenAPI, settings: Settings) -> Iterator[httpx.Client]:
    server = Server(app, settings.model_copy(update={"port": 0}))
    thread = threading.Thread(target=server.run)
    thread.start()
    hold = {"response": [Contract(app.api_doc).hold]}
    url = f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=url, headers=TOKEN, event_hooks=hold, timeout=PATIENCE_S) as client:
        yield client
    server.stop()
    thread.join()


class Contract:
    """The API document, as the judge of what is answered."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.described = described

    def hold(self, response: httpx.Response) -> None:
        response.read()
        content = self._content(response)
        if content is None or response.request.method == "HEAD":
            return
        schema = content[response.headers["Content-Type"]]["schema"]
        if schema == {"type": "string"}:  # lines, each a document of its own
            return
        judge = Draft202012Validator(
            schema | {"components": self.described["components"]},
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
        judge.validate(response.json())

    def _content(self, response: httpx.Response) -> dict[str, Any] | None:
        method = response.request.method.lower()
        for template, operations in self.described["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            if re.fullmatch(pattern, response.request.url.path) and method in operations:
                described = operations[method]["responses"][str(response.status_code)]
                found: dict[str, Any] | None = described.get("content")  # none for a 304
                return found
        return None


@pytest.fixture
def enqueued_uploads(broker_url: str) -> Callable[[], list[str]]:
    """Return the uploads that the messages in the broker name, in their order."""

    def read() -> list[str]:
        with Redis(unix_socket_path=urlsplit(broker_url).path, db=0) as redis:
            messages = redis.lrange(REPLAY_QUEUE, 0, -1)
        bodies = [json.loads(b64decode(json.loads(each)["body"])) for each in reversed(messages)]
        return [upload for arguments, _, _ in bodies for upload in arguments]

    return read
