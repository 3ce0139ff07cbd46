"""The quiz page: its files are served where asked for, under a policy of their own, and nothing else is."""

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.viewer import CLIENT, HEADERS
from shared.config import Settings

FILES = [
    "",
    "viewer.js",
    "viewer.css",
    "questions.json",
    "manifest.webmanifest",
    "icon-192.png",
    "offline.js",
    "sw.js",
]


@pytest.fixture
def web(settings: Settings) -> FlaskClient:
    return create_app(settings.model_copy(update={"viewer_page": True})).test_client()


@pytest.mark.parametrize("name", [*FILES, "study-outbox/outbox.js"])
def test_each_file_is_served_under_the_pages_policy(web: FlaskClient, name: str) -> None:
    answer = web.get(f"/viewer/{name}", buffered=True)
    assert answer.status_code == 200
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "study-outbox/package.json",
        "study-outbox/test/outbox.test.js",
        "..%2Fjs%2Fpackage.json",
        "%2E%2E/js/package.json",
        "study-outbox/..%2Fpackage.js",
        "study-outbox",
    ],
)
def test_nothing_else_of_the_checkout_is_served(web: FlaskClient, name: str) -> None:
    assert web.get(f"/viewer/{name}", buffered=True).status_code == 404


def test_without_the_setting_there_is_no_page(settings: Settings) -> None:
    assert create_app(settings).test_client().get("/viewer/").status_code == 404


def test_the_worker_names_a_digest_of_the_files(web: FlaskClient) -> None:
    assert "{version}" in (CLIENT / "viewer" / "offline.js").read_text()
    assert "{version}" not in web.get("/viewer/offline.js", buffered=True).text
