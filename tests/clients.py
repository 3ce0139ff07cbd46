"""The front end of a document server, as far as tests need it, and a clock that tests set."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.factories import ANN, RIGHT

PASSWORD = "a password for tests"
LOGIN = "/ops/login"


def log_in(web: httpx.Client, password: str = PASSWORD, *, name: str = "", **headers: str) -> httpx.Response:
    return web.post(LOGIN, data={"password": password, "name": name}, headers=headers)


def token(page: httpx.Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found
    return found[1]


def press(web: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Send the form of a page, as a browser would, with the CSRF token of a page."""
    return web.post(path, data={"csrf_token": token(web.get("/ops/"))} | fields)


STUDY_TOKEN = {"Authorization": "Bearer study-token-of-tests"}
TOPIC, OTHER_TOPIC = 11, 12


def rfc3339(at: datetime) -> str:
    """Write a time as the API does."""
    return at.isoformat().replace("+00:00", "Z")


@dataclass
class Clock:
    """A clock whose time a test sets."""

    now: datetime = datetime(2026, 11, 20, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


@dataclass(frozen=True)
class Front:
    """Send requests to the live side on behalf of a learner."""

    web: httpx.Client
    learner: int | str = ANN

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.web.get(f"/study/users/{self.learner}/{path}", params=query, headers=STUDY_TOKEN)

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.web.post(f"/study/users/{self.learner}/{path}", json=body, headers=STUDY_TOKEN)

    def start(self, topic: int = TOPIC, **request: Any) -> httpx.Response:
        return self.post("sessions", {"study_topic_id": topic} | request)

    def read(self, session: int) -> Any:
        return self.get(f"sessions/{session}").json()

    def answer(
        self, session: int, pub_id: str, selected: int | None = RIGHT, *, unsure: bool = False
    ) -> httpx.Response:
        answer = {"pub_id": pub_id, "selected": selected, "unsure": unsure}
        return self.post(f"sessions/{session}/attempts", answer)

    def finalize(self, session: int) -> httpx.Response:
        return self.post(f"sessions/{session}/finalize")

    def abandon(self, session: int) -> httpx.Response:
        return self.post(f"sessions/{session}/abandon")

    def sit(self, *answers: tuple[str, int | None], topic: int = TOPIC, **request: Any) -> Any:
        """Start a session, give these answers, each sure, and finalize it; return the finalized session."""
        session = started(self.start(topic, **request))
        for pub_id, selected in answers:
            assert self.answer(session, pub_id, selected).status_code == 200
        return self.finalize(session).json()


def started(response: httpx.Response) -> int:
    assert response.status_code in {200, 201}
    session: int = response.json()["session_id"]
    return session


def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["type"].removeprefix("/problems/")
