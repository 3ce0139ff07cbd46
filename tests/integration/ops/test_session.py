"""The way in to the operators' page: by the password alone, and by no trick beside it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
from flask import Flask
from pydantic import SecretStr, ValidationError
from sqlalchemy import Engine, text

from api.app import create_app
from shared.config import Settings
from tests import factories
from tests.clients import LOGIN, PASSWORD, Clock, log_in, press
from tests.factories import answer, deliver, upload, work_off

AT = "2026-11-20T09:00:00Z"
ENDPOINT = "/ingest/study/attempts"
PAGES = [
    "/ops/",
    "/ops/uploads",
    "/ops/conflicts",
    "/ops/learners/1",
    "/ops/learners",
    "/ops/learners?learner=1",
]
Serve = Callable[[Flask, Settings], httpx.Client]


def test_without_a_password_there_is_no_page(settings: Settings, serve: Serve) -> None:
    closed = settings.model_copy(update={"ops_password": SecretStr("")})
    web = serve(create_app(closed), closed)
    for path in [*PAGES, LOGIN, "/ops/static/ops.css"]:
        assert (path, web.get(path).status_code) == (path, 404)
    assert log_in(web, "").status_code == 404


def test_a_short_password_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("database_url", "broker_url"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    monkeypatch.setenv("OPS_PASSWORD", "short")
    with pytest.raises(ValidationError, match="12 characters or more") as refused:
        Settings()
    assert "short" not in str(refused.value.errors(include_input=False)[0]["msg"])


def test_every_page_asks_for_the_password_first(web: httpx.Client) -> None:
    for path in PAGES:
        answer = web.get(path)
        assert (path, answer.status_code) == (path, 303)
        assert answer.headers["Location"].startswith(f"{LOGIN}?next=")
    assert web.post("/ops/logout").status_code == 303
    poll = web.get("/ops/", headers={"HX-Request": "true"})
    assert (poll.status_code, poll.headers["HX-Refresh"]) == (401, "true")


def test_the_cookie_is_kept_from_scripts_and_other_sites(web: httpx.Client) -> None:
    assert "Set-Cookie" not in web.get(LOGIN).headers
    assert "Set-Cookie" not in log_in(web, "wrong").headers
    plain = log_in(web).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/ops"} <= set(plain.split("; "))
    assert "Secure" not in plain
    assert "; Secure" in log_in(web, Origin="https://study.example").headers["Set-Cookie"]


def test_web_processes_agree_on_a_session_until_the_password_changes(
    settings: Settings, serve: Serve, web: httpx.Client
) -> None:
    log_in(web)
    changed = settings.model_copy(update={"ops_password": SecretStr("another password")})
    same, other = serve(create_app(settings), settings), serve(create_app(changed), changed)
    cookie = {"Cookie": f"study_ingest_ops={web.cookies['study_ingest_ops']}"}
    assert same.get("/ops/", headers=cookie).status_code == 200
    assert other.get("/ops/", headers=cookie).status_code == 303


def test_after_five_wrong_passwords_not_even_the_right_one_is_let_in(web: httpx.Client) -> None:
    assert [log_in(web, "wrong").status_code for _ in range(5)] == [403] * 5
    refused = log_in(web)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 300
    assert "Set-Cookie" not in refused.headers
    assert web.get("/ops/").status_code == 303


def test_guesses_at_once_are_no_more_than_five(web: httpx.Client) -> None:
    with ThreadPoolExecutor(16) as guessers:
        answers = list(guessers.map(lambda _: log_in(web, "wrong").status_code, range(48)))
    assert sorted(answers) == [403] * 5 + [429] * 43


def test_a_right_password_forgives_the_wrong_ones(web: httpx.Client) -> None:
    for _ in range(3):
        assert [log_in(web, "wrong").status_code for _ in range(4)] == [403] * 4
        assert log_in(web).status_code == 303


def test_who_logs_out_is_out(web: httpx.Client) -> None:
    log_in(web)
    assert web.get("/ops/").status_code == 200
    assert press(web, "/ops/logout").headers["Location"] == LOGIN
    assert web.get("/ops/").status_code == 303


@pytest.mark.parametrize(
    ("wanted", "led"),
    [
        ("/ops/uploads?status=dead", "/ops/uploads?status=dead"),
        ("https://elsewhere.example/", "/ops/"),
        ("//elsewhere.example/ops/", "/ops/"),
        ("/ops.elsewhere.example/", "/ops/"),
        ("/ops/\n", "/ops/"),
        ("/ops/uploads\r\nSet-Cookie: x=y", "/ops/"),
        ("/ops/\N{SNOWMAN}", "/ops/"),
        ("", "/ops/"),
    ],
)
def test_the_login_leads_nowhere_else(web: httpx.Client, wanted: str, led: str) -> None:
    answer = web.post(LOGIN, params={"next": wanted}, data={"password": PASSWORD})
    assert (answer.status_code, answer.headers["Location"]) == (303, led)


def test_a_forged_form_does_nothing(web: httpx.Client) -> None:
    log_in(web)
    assert web.post("/ops/logout").status_code == 400
    assert web.post("/ops/logout", data={"csrf_token": "made up"}).status_code == 400
    assert log_in(web, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert web.get("/ops/").status_code == 200


def test_pages_are_neither_kept_nor_framed_and_run_no_script_but_ours(web: httpx.Client) -> None:
    log_in(web)
    for path in [*PAGES[:-1], LOGIN, "/ops/nowhere"]:
        headers = web.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert (policy["default-src"], policy["script-src"], policy["style-src"]) == (
            "'none'",
            "'self'",
            "'self'",
        )
        assert (policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'")
        assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Type"].startswith("text/html")


def test_errors_are_pages_here_and_problems_elsewhere(web: httpx.Client) -> None:
    log_in(web)
    for path, status in [("/ops/nowhere", 404), ("/ops/learners/9", 404), ("/ops/conflicts/9/discard", 404)]:
        answer = web.get(path)
        assert (path, answer.status_code) == (path, status)
        assert "<h1>" in answer.text
    too_large = web.post(
        LOGIN, content=b"x" * 2**21, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert (too_large.status_code, too_large.headers["Content-Type"]) == (413, "text/html; charset=utf-8")
    assert web.get("/opsy").headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "learner", ["0" * 20 + "9" * 4400, "0" * 20 + "9" * 30, str(2**63), "-1", "\u0661", ""]
)
def test_what_is_no_learners_id_finds_nothing(web: httpx.Client, learner: str) -> None:
    log_in(web)
    answer = web.get("/ops/learners", params={"learner": learner})
    assert (answer.status_code, "No learner matches" in answer.text) == (200, True)


@pytest.mark.parametrize("act", ["", "/replay", "/void", "/unvoid"])
def test_nothing_is_asked_of_an_upload_that_is_unknown(web: httpx.Client, engine: Engine, act: str) -> None:
    log_in(web)
    sent = upload(answer("q110", "2026-11-20T09:00:00Z"))
    page = f"/ops/uploads/{sent['client_session_uuid']}{act}"
    unknown = web.get(page)
    assert (unknown.status_code, "there is no upload" in unknown.text) == (404, True)
    deliver(engine, sent)
    assert web.get(page).status_code == 200


def test_the_api_document_does_not_mention_it(settings: Settings) -> None:
    assert not [path for path in create_app(settings).api_doc["paths"] if path.startswith("/ops")]


def test_operators_who_wait_do_not_keep_uploads_out(settings: Settings, serve: Serve, engine: Engine) -> None:
    factories.load_many(engine)
    web = serve(create_app(settings), settings)
    log_in(web)
    sent = factories.random_upload(factories.random.Random(1), learner=1)
    with engine.begin() as connection, ThreadPoolExecutor(settings.web_requests * 2) as operators:
        connection.execute(text("LOCK TABLE study_topics IN ACCESS EXCLUSIVE MODE"))
        pages = [
            operators.submit(web.get, "/ops/learners/1", timeout=60) for _ in range(settings.web_requests * 2)
        ]
        assert web.post(ENDPOINT, json=sent).status_code == 202
        answers = [page.result() for page in pages]
    assert {answer.status_code for answer in answers} == {503}
    # Those that found no place gave their thread back at once.
    assert any("Too many requests of operators" in answer.text for answer in answers)


def test_a_session_ends_twelve_hours_after_the_login_whatever_is_done(
    settings: Settings, serve: Serve, engine: Engine
) -> None:
    # The real time and more: the cookie's signature has a time of its own.
    clock = Clock(datetime.now(UTC))
    web = serve(create_app(settings, clock), settings)
    factories.load(engine)
    deliver(engine, sent := upload(answer("q110", AT)))
    work_off(engine, sent)
    log_in(web)
    for hours in (1, 10):
        clock.advance(hours=hours)
        # Its message is kept in the cookie, which is signed once more.
        voided = press(web, f"/ops/uploads/{sent['client_session_uuid']}/void", reason="test")
        assert "Set-Cookie" in voided.headers
        assert web.get("/ops/").status_code == 200
    clock.advance(minutes=59)
    assert web.get("/ops/").status_code == 200
    clock.advance(minutes=1)
    assert web.get("/ops/").headers["Location"].startswith(LOGIN)
    assert web.get("/ops/", headers={"HX-Request": "true"}).status_code == 401
    log_in(web)
    assert web.get("/ops/").status_code == 200
