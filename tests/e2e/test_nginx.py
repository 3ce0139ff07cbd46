"""Behind an nginx, below a path and with TLS: nothing leaves the path, and clients keep their addresses."""

import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from pydantic import SecretStr

from shared.config import Settings
from shared.payload import EXAMPLE_UPLOAD
from tests.clients import PASSWORD, STUDY_TOKEN, token
from tests.nginx import FORWARDED, nginx
from tests.processes import PATIENCE_S, Processes

ENDPOINT = "/study/ingest/study/attempts"
TOKEN = {"Authorization": "Bearer viewer-token-of-tests"}
LOGIN = "/study/ops/login"
TRUSTING = {"trusted_proxies": "127.0.0.1"}
Behind = Callable[..., httpx.Client]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ops_password": SecretStr(PASSWORD), "viewer_page": True})


@pytest.fixture
def behind(house: Processes, tmp_path: Path) -> Iterator[Behind]:
    """Serve behind nginx: by default one that cuts the path off, and that we trust."""
    with ExitStack() as stack:

        def serve(
            *, cut: bool = True, headers: str = FORWARDED, settings: dict[str, str] = TRUSTING
        ) -> httpx.Client:
            house.settings = house.settings.model_copy(update=settings)
            url = house.serve()
            base = stack.enter_context(nginx(tmp_path, url + "/" * cut, "/study/" if cut else "/", headers))
            trust = ssl.create_default_context(cafile=tmp_path / "certificate")
            return stack.enter_context(httpx.Client(base_url=base, verify=trust, timeout=PATIENCE_S))

        yield serve


# What may stand in front: a proxy that cuts the path off and says so, and one that hands it on.
WHOLE = {"cut": False, "headers": "", "settings": {"url_prefix": "/study"}}
WAYS = {
    "the path cut off, X-Forwarded-Prefix": {},
    "the path cut off, both": {"settings": TRUSTING | {"url_prefix": "/study"}},
    "the whole path, URL_PREFIX": WHOLE,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_everything_stays_within_the_path(behind: Behind, way: dict[str, object]) -> None:
    web = behind(**way)

    sent = web.post(ENDPOINT, json=EXAMPLE_UPLOAD, headers=TOKEN)
    assert (sent.status_code, sent.headers["Location"].startswith(f"{ENDPOINT}/")) == (202, True)
    assert web.get(sent.headers["Location"], headers=TOKEN).status_code == 200

    # The live side, which is at a path of the same name.
    live = web.get("/study/study/users/1/sessions", headers=STUDY_TOKEN)
    assert live.json()["type"] == "/problems/unknown-learner"

    asked = web.get("/study/ops")
    assert (asked.status_code, asked.headers["Location"]) == (303, f"{LOGIN}?next=/study/ops/")
    entered = web.post(LOGIN, data={"password": PASSWORD}, params={"next": "/study/ops/uploads"})
    assert (entered.status_code, entered.headers["Location"]) == (303, "/study/ops/uploads")
    assert {"Path=/study/ops", "HttpOnly"} <= set(entered.headers["Set-Cookie"].split("; "))
    for page in ("/study/ops", "/study/viewer"):  # neither a host nor a scheme: the client knows them
        led = web.get(page)
        assert (led.status_code, led.headers["Location"]) == (308, f"{page}/")
    for page in ("/study/ops/", "/study/ops/uploads", "/study/docs", "/study/viewer/"):
        shown = web.get(page)
        assert shown.status_code == 200
        for link in set(re.findall(r'(?:href|src|action|hx-get)="([^"#][^"]*)"', shown.text)):
            if not link.startswith("data:"):
                assert urljoin(page, link).startswith("/study/")
                assert web.get(urljoin(page, link)).status_code in {200, 405}
    out = web.post("/study/ops/logout", data={"csrf_token": token(web.get("/study/ops/"))})
    assert (out.status_code, out.headers["Location"]) == (303, LOGIN)
    assert web.get("/study/openapi.json").json()["servers"] == [{"url": "/study"}]


def test_the_cookie_of_a_browser_that_uses_https_is_for_https_alone(behind: Behind) -> None:
    web = behind()
    page = {"Referer": f"{web.base_url}study/ops/login"}
    assert "; Secure" in web.post(LOGIN, data={"password": PASSWORD}, headers=page).headers["Set-Cookie"]
    form = {"csrf_token": token(web.get("/study/ops/"))}
    assert web.post("/study/ops/logout", data=form, headers=page).status_code == 303


def test_each_client_has_guesses_of_its_own(behind: Behind, house: Processes) -> None:
    web = behind(settings={"trusted_proxies": "127.0.0.0/8, 10.0.0.0/8"})

    def guess(hops: str) -> int:
        return log_in_at(web, "wrong", {"X-Forwarded-For": hops})

    # nginx adds 127.0.0.1. What stands before the last address that is not trusted was claimed by the client.
    assert [guess(f"1.2.3.{n}, 198.51.100.7, 10.0.0.1") for n in range(6)] == [403] * 5 + [429]
    assert guess("nonsense, 198.51.100.7") == 429
    for same in ("198.51.100.7:4711", "[::ffff:198.51.100.7]:443", "::FFFF:198.51.100.7, 10.0.0.1:80"):
        assert guess(same) == 429
    assert guess("198.51.100.7, 2001:db8::1") == 403
    assert guess("198.51.100.7, nonsense") == 403  # of 127.0.0.1, then
    events = [json.loads(line) for line in house.output("web").splitlines() if "ops.login" in line]
    assert {each["address"] for each in events if each["event"] == "ops.login_limited"} == {"198.51.100.7"}


def test_several_proxies_in_a_row_are_understood(behind: Behind) -> None:
    sent = {"Proto": "HTTPS, http", "Prefix": "/outer/, /study"}
    web = behind(headers="".join(f"proxy_set_header X-Forwarded-{name} '{sent[name]}';" for name in sent))
    assert "; Secure" in web.post(LOGIN, data={"password": PASSWORD}).headers["Set-Cookie"]
    assert web.get("/study/viewer").headers["Location"] == "/outer/study/viewer/"


def test_a_proxy_that_is_not_trusted_is_not_believed(behind: Behind) -> None:
    web = behind(settings={"trusted_proxies": "10.0.0.0/8"})
    assert web.get("/study/ops/").headers["Location"].startswith("/ops/login")
    assert "Secure" not in web.post(LOGIN, data={"password": PASSWORD}).headers["Set-Cookie"]
    claimed = [{"X-Forwarded-For": f"10.0.0.{n}"} for n in range(5)]
    assert [log_in_at(web, "wrong", each) for each in claimed] == [403] * 5
    assert log_in_at(web, PASSWORD, {"X-Forwarded-For": "10.0.0.9"}) == 429


def log_in_at(web: httpx.Client, password: str, headers: dict[str, str]) -> int:
    return web.post(LOGIN, data={"password": password}, headers=headers).status_code


@pytest.mark.parametrize("prefix", ["//elsewhere.example", "https://elsewhere.example", "/a b", '/"x', "/"])
def test_a_prefix_that_is_no_path_is_left_out(behind: Behind, prefix: str) -> None:
    web = behind(headers="proxy_pass_request_headers on;")
    answer = web.get("/study/ops/", headers={"X-Forwarded-Prefix": prefix})
    assert answer.headers["Location"].startswith("/ops/login")


def test_two_slashes_in_a_path_lead_nowhere(behind: Behind) -> None:
    web = behind()
    assert web.post(LOGIN, data={"password": PASSWORD}).status_code == 303
    for path in (
        "//ops/",
        "/ops//uploads",
        "/ops//",
        "/ingest//study/attempts",
        "/docs//start.js",
        "//elsewhere.example/ops/",
        "/ops/%2F/uploads",
    ):
        answer = web.get(f"/study{path}", headers=TOKEN)
        assert (path, answer.status_code, answer.headers.get("Location")) == (path, 404, None)
