"""Who and what is refused, and in which order."""

import json
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from api.app import create_app
from api.schemas import MAX_BODY
from shared.config import Settings
from shared.metrics import REFUSALS
from shared.payload import EXAMPLE_UPLOAD
from tests.factories import an_upload
from tests.processes import until

NOBODYS = "00000000-0000-4000-8000-000000000000"

ENDPOINT = "/ingest/study/attempts"
Serve = Callable[..., httpx.Client]


def uploads(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM uploads")) or 0)


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code
    return response.status_code, response.json()["type"]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "viewer-token-of-tests",
        "Bearer",
        "Bearer viewer-toke",
        "Bearer viewer-token-of-tests2",
        "Basic viewer-token-of-tests",
        "Bearer study-token-of-tests",
        b"Bearer viewer-t\xf6ken",
        "Bearer old-token-of-tests,new-token-of-tests",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_an_accepted_token_it_is_401(
    web: httpx.Client, engine: Engine, authorization: str | bytes | None, method: str
) -> None:
    del web.headers["Authorization"]
    headers = {} if authorization is None else {"Authorization": authorization}
    address = ENDPOINT if method == "POST" else f"{ENDPOINT}/{uuid4()}"

    response = web.request(method, address, headers=headers, content=json.dumps(EXAMPLE_UPLOAD))

    assert problem(response) == (401, "/problems/unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert uploads(engine) == 0


@pytest.mark.parametrize("token", ["old-token-of-tests", "new-token-of-tests", "schlüssel-für-tests"])
def test_each_of_several_tokens_is_accepted_whatever_the_case_of_the_scheme(
    serve: Serve, settings: Settings, token: str
) -> None:
    several = SecretStr("old-token-of-tests, ,new-token-of-tests,schlüssel-für-tests,")
    rotating = settings.model_copy(update={"viewer_sync_token": several})
    web = serve(create_app(rotating), rotating)

    response = web.post(ENDPOINT, json=an_upload(), headers={"Authorization": f"bEARER {token}".encode()})

    assert response.status_code == 202


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "json"])
def test_another_content_type_is_415(web: httpx.Client, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = web.post(ENDPOINT, content=json.dumps(an_upload()), headers=headers)
    assert problem(response) == (415, "/problems/unsupported-media-type")


def test_a_compressed_body_is_415(web: httpx.Client) -> None:
    response = web.post(ENDPOINT, json=an_upload(), headers={"Content-Encoding": "gzip"})
    assert problem(response) == (415, "/problems/unsupported-media-type")


def test_parameters_of_the_content_type_do_not_matter(web: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert web.post(ENDPOINT, content=json.dumps(an_upload()), headers=headers).status_code == 202


def test_a_wrong_payload_is_422_and_pointed_at(web: httpx.Client) -> None:
    response = web.post(
        ENDPOINT, json=an_upload(attempts=[{"pub_id": "q", "selected": "2", "unsure": False}])
    )

    assert problem(response) == (422, "/problems/invalid-payload")
    assert response.json()["errors"] == [
        {"pointer": "/attempts/0/selected", "detail": "Input should be a valid integer"},
        {"pointer": "/attempts/0/answered_at", "detail": "Field required"},
    ]


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [("GET", ENDPOINT, "POST"), ("DELETE", f"{ENDPOINT}/{NOBODYS}", "GET"), ("POST", "/livez", "GET")],
)
def test_another_method_is_405(web: httpx.Client, method: str, address: str, allowed: str) -> None:
    response = web.request(method, address)
    assert problem(response) == (405, "/problems/method-not-allowed")
    assert allowed in response.headers["Allow"]


def test_head_answers_as_get_without_a_body(web: httpx.Client) -> None:
    upload = an_upload()
    location = web.post(ENDPOINT, json=upload).headers["Location"]
    response = web.head(location)
    assert (response.status_code, response.content) == (200, b"")
    assert web.head("/nothing").status_code == 404


def test_options_names_the_methods(web: httpx.Client) -> None:
    assert "POST" in web.options(ENDPOINT).headers["Allow"]


def test_I10_with_the_flag_unset_ingest_is_503_and_writes_nothing(
    serve: Serve, settings: Settings, engine: Engine
) -> None:
    closed = settings.model_copy(update={"study_ingest_enabled": False})
    web = serve(create_app(closed), closed)

    refused = [web.post(ENDPOINT, json=EXAMPLE_UPLOAD), web.get(f"{ENDPOINT}/{uuid4()}"), web.get("/readyz")]

    for response in refused:
        assert problem(response) == (503, "/problems/ingest-closed")
        assert int(response.headers["Retry-After"]) > 0
    assert web.get("/livez").status_code == 200
    assert uploads(engine) == 0


def test_a_store_that_does_not_answer_is_503_within_the_deadline(
    serve: Serve, settings: Settings, engine: Engine
) -> None:
    alone = settings.model_copy(update={"redis_url": ""})
    web = serve(create_app(alone), alone)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE uploads IN ACCESS EXCLUSIVE MODE"))

        refused = [
            web.post(ENDPOINT, json=EXAMPLE_UPLOAD),
            web.get(f"{ENDPOINT}/{uuid4()}"),
            web.get("/readyz"),
        ]

        for response in refused:
            assert problem(response) == (503, "/problems/store-unavailable")
            assert int(response.headers["Retry-After"]) > 0
        assert web.get("/livez").status_code == 200
    until(lambda: web.post(ENDPOINT, json=EXAMPLE_UPLOAD).status_code == 202, "the breaker lets one through")


def test_ready_and_alive(web: httpx.Client) -> None:
    assert [web.get(address).json() for address in ("/livez", "/readyz")] == [{"status": "ok"}] * 2


def test_an_error_of_ours_is_500_and_says_nothing_of_its_cause(serve: Serve, settings: Settings) -> None:
    def break_down() -> str:
        raise RuntimeError("the learner chose 2")

    app = create_app(settings)
    app.add_url_rule("/break", view_func=break_down)

    response = serve(app, settings).get("/break")

    assert problem(response) == (500, "/problems/internal-error")
    assert "chose" not in response.text


@pytest.mark.parametrize(
    ("flaws", "kind"),
    [
        ({"closed", "token", "type", "size"}, "ingest-closed"),
        ({"token", "type", "size"}, "unauthenticated"),
        ({"type", "size"}, "unsupported-media-type"),
        ({"size"}, "body-too-large"),
    ],
)
def test_of_several_faults_the_first_in_a_fixed_order_is_answered(
    serve: Serve, settings: Settings, flaws: set[str], kind: str
) -> None:
    chosen = settings.model_copy(update={"study_ingest_enabled": "closed" not in flaws})
    web = serve(create_app(chosen), chosen)
    if "token" in flaws:
        del web.headers["Authorization"]

    response = web.post(
        ENDPOINT,
        content=b"[" * (MAX_BODY + 1 if "size" in flaws else 1),
        headers={"Content-Type": "text/plain" if "type" in flaws else "application/json"},
    )

    assert problem(response)[1] == f"/problems/{kind}"


def test_I11_a_refusal_is_logged_by_uuid_and_pointer_and_counted_by_problem(web: httpx.Client) -> None:
    upload = an_upload()
    wrong = upload | {"attempts": [EXAMPLE_UPLOAD["attempts"][0] | {"selected": "secret", "pub_id": 5}]}
    known = upload["client_session_uuid"]
    for body, uuid in [
        (wrong, known),
        (wrong | {"client_session_uuid": "secret"}, None),
        (wrong | {"client_session_uuid": ["secret"]}, None),
        ("secret", None),
        ([], None),
    ]:
        counted = REFUSALS.labels("invalid-payload")._value  # noqa: SLF001  # the library has no other way
        before = counted.get()
        with capture_logs() as logs:
            assert web.post(ENDPOINT, json=body).status_code == 422
        (logged,) = [each for each in logs if each["event"] == "request.refused"]
        assert (logged["upload"], logged["problem"]) == (uuid, "/problems/invalid-payload")
        assert "secret" not in json.dumps(logged)
        assert counted.get() == before + 1
        if uuid:
            assert logged["pointers"] == ["/attempts/0/pub_id", "/attempts/0/selected"]
