"""Requests with a mark in every place where a private or a wrong value can stand."""

import json
import random
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx

from cli.client import PATH
from tests import factories
from tests.marks import MARK

VIEWER = {"Authorization": f"Bearer {MARK}-viewer", "Content-Type": "application/json"}
FRONT = {"Authorization": f"Bearer {MARK}-front-end"}
LIVE = "/study/users/1/sessions"


def marked(seed: int, first: str = "", **changes: Any) -> dict[str, Any]:
    upload = factories.random_upload(random.Random(seed), 1, **changes)
    upload["attempts"] = [
        attempt | {"pub_id": attempt["pub_id"].replace("q-", f"{MARK}-"), f"{MARK}-key": MARK}
        for attempt in upload["attempts"]
        if attempt["pub_id"] != "q-1-00"
    ]
    upload["attempts"][0]["pub_id"] = f"{MARK}-{first or 'nobody-knows-it'}"
    return upload | {"unknown": [MARK, {f"{MARK}-key": MARK}]}


GOOD, BROKEN, NOBODYS, SPOOLED = marked(1), marked(2, "1-00"), marked(3, attempts=1), marked(4)
HOSTILE = [
    json.dumps(GOOD)[:-9],
    json.dumps(GOOD | {MARK: "\0"}),
    json.dumps(GOOD | {"attempts": MARK}),
    json.dumps(GOOD | {"client_session_uuid": MARK}),
    json.dumps(GOOD | {"attempts": [{MARK: MARK, "pub_id": 5, "selected": MARK, "answered_at": MARK}]}),
    f'{{"{MARK}": 1, "{MARK}": 1}}',
    f'{{"{MARK}": ' + "[" * 10_000,
    f'"{MARK}" // {MARK}',
]


def ask_wrongly(web: httpx.Client) -> None:
    """Send requests that are refused, with the mark in every place where it can stand."""
    for body in HOSTILE:
        web.post(PATH, content=body, headers=VIEWER)
        web.post(LIVE, content=body, headers=VIEWER | FRONT)
    for headers in ({"Authorization": f"Bearer {MARK}"}, {"Authorization": MARK}, {MARK: MARK}):
        web.post(PATH, json=GOOD, headers=headers)
        web.get(LIVE, headers=headers)
    web.post(PATH, json=GOOD, headers=VIEWER | {"Content-Type": MARK})
    for path in (f"/{MARK}", f"{PATH}/{MARK}", f"/problems/{MARK}", f"/docs/swagger-ui/{MARK}"):
        web.request("GET", path, headers=VIEWER)
        web.request(MARK, f"{path}?{MARK}={MARK}", headers=VIEWER)
    web.get(LIVE, params={"cursor": MARK, MARK: MARK}, headers=FRONT)
    web.post(LIVE, json={"study_topic_id": 10, "subject_filter": MARK}, headers=FRONT)
    web.post(LIVE, json={"study_topic_id": 10, MARK: MARK, "quiz_mode": MARK}, headers=FRONT)


def answer_live(web: httpx.Client) -> None:
    """Answer each question of a live session twice, and one that is not asked; the database refuses 1-00."""
    session = web.post(LIVE, json={"study_topic_id": 10}, headers=FRONT).json()
    place = f"{LIVE}/{session['session_id']}"
    asked = {question["pub_id"] for question in session["questions"]}
    assert f"{MARK}-1-00" in asked
    for pub_id, selected in [*((each, 1) for each in asked), *((each, 2) for each in asked), (MARK, 1)]:
        answer = {"pub_id": pub_id, "selected": selected, "unsure": False}
        web.post(f"{place}/attempts", json=answer, headers=FRONT)
    web.post(f"{place}/finalize", headers=FRONT)


def speak_no_http(url: str) -> str:
    """Send requests that the server refuses before the application sees them; return the answers."""
    said = ""
    for request in (f"{MARK} / {MARK}\r\n\r\n", f"POST {PATH} HTTP/1.1\r\nContent-Length: {MARK}\r\n\r\n"):
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection:
            connection.sendall(request.encode())
            said += b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert said.count(" 400 Bad Request") == 2
    return said
