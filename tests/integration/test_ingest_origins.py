"""What scripts of other origins may do: send uploads and read the answers, where the origin is listed."""

from collections.abc import Callable

import httpx
import pytest

from api.app import create_app
from shared.config import Settings
from tests.factories import answer, upload

ENDPOINT = "/ingest/study/attempts"
UPLOAD = "6f1c1f0e-6d3a-4d58-9a53-0f2f3b1f6e11"  # the same in every process of the tests
VIEWER, OTHER = "https://viewer.example", "https://viewer.example.evil"
ASK = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}
Serve = Callable[..., httpx.Client]


@pytest.fixture
def web(serve: Serve, settings: Settings) -> httpx.Client:
    listed = settings.model_copy(update={"viewer_origins": f"http://localhost:5173, {VIEWER}"})
    return serve(create_app(listed), listed)


def allowed(response: httpx.Response) -> dict[str, str]:
    return {k: v for k, v in response.headers.items() if k.startswith("access-control-")}


@pytest.mark.parametrize("path", [ENDPOINT, f"{ENDPOINT}/{UPLOAD}", "/ingest/nothing"])
@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_preflight_is_answered_before_token_and_flag(
    serve: Serve, settings: Settings, path: str, *, is_enabled: bool
) -> None:
    changes = {"viewer_origins": VIEWER, "study_ingest_enabled": is_enabled}
    settings = settings.model_copy(update=changes)
    web = serve(create_app(settings), settings)
    del web.headers["Authorization"]
    response = web.options(path, headers=ASK | {"Origin": VIEWER})
    assert (response.status_code, response.content) == (204, b"")
    assert allowed(response) == {
        "access-control-allow-origin": VIEWER,
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "7200",
        "access-control-expose-headers": "Retry-After, Location",
    }
    assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "http://viewer.example", f"{VIEWER}:8443", "", VIEWER.upper()]
)
def test_other_origins_are_allowed_nothing(web: httpx.Client, origin: str) -> None:
    preflight = web.options(ENDPOINT, headers=ASK | {"Origin": origin})
    sent = web.post(ENDPOINT, json=upload(answer("q110", "2026-11-20T09:00:00Z")), headers={"Origin": origin})
    for response in (preflight, sent):
        assert allowed(response) == {}
        assert response.headers["Vary"] == "Origin"


def test_the_headers_stand_on_errors_too(web: httpx.Client, settings: Settings, serve: Serve) -> None:
    closed = settings.model_copy(update={"viewer_origins": VIEWER, "study_ingest_enabled": False})
    too_large = b" " * (2 * 1024 * 1024)
    json_type = {"Content-Type": "application/json"}
    answers = {
        202: web.post(ENDPOINT, json=upload(answer("q", "2026-11-20T09:00:00Z")), headers={"Origin": VIEWER}),
        400: web.post(ENDPOINT, content=b"{", headers={"Origin": VIEWER} | json_type),
        401: web.get(f"{ENDPOINT}/{UPLOAD}", headers={"Origin": VIEWER, "Authorization": "Bearer x"}),
        404: web.get("/ingest/nothing", headers={"Origin": VIEWER}),
        405: web.put(ENDPOINT, headers={"Origin": VIEWER}),
        413: web.post(ENDPOINT, content=too_large, headers={"Origin": VIEWER} | json_type),
        503: serve(create_app(closed), closed).get(f"{ENDPOINT}/{UPLOAD}", headers={"Origin": VIEWER}),
    }
    for status, response in answers.items():
        assert response.status_code == status
        assert allowed(response)["access-control-allow-origin"] == VIEWER
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("path", ["/livez", "/openapi.json", "/docs", "/study/users/1/topics", "/ops/", "/"])
def test_nothing_but_ingest_is_open_to_other_origins(web: httpx.Client, path: str) -> None:
    for method in ("GET", "OPTIONS"):
        assert allowed(web.request(method, path, headers=ASK | {"Origin": VIEWER})) == {}


def test_without_the_setting_no_header_names_origins(serve: Serve, settings: Settings) -> None:
    web = serve(create_app(settings), settings)
    response = web.get(f"{ENDPOINT}/{UPLOAD}", headers={"Origin": VIEWER})
    assert allowed(response) == {}
    assert "Vary" not in response.headers
