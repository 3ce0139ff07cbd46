"""Whom the live side turns away, and what it does not know."""

from collections.abc import Callable

import httpx
import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import Engine

from api.app import create_app
from shared.config import Settings
from tests.clients import TOPIC, Front, refusal, started
from tests.factories import ANN, BEN, load

Serve = Callable[[Flask, Settings], httpx.Client]


def test_without_a_configured_token_the_live_side_is_closed(
    serve: Serve, settings: Settings, engine: Engine
) -> None:
    load(engine)
    closed = settings.model_copy(update={"study_api_token": SecretStr(" , ")})
    front = Front(serve(create_app(closed), closed))
    response = front.start()
    assert refusal(response) == (503, "live-closed")
    assert response.headers["Retry-After"]


def test_it_is_open_while_uploads_are_not(serve: Serve, settings: Settings, engine: Engine) -> None:
    load(engine)
    live_only = settings.model_copy(update={"study_ingest_enabled": False})
    assert Front(serve(create_app(live_only), live_only)).start().status_code == 201


@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer viewer-token-of-tests",
        "Bearer study-token-of-tests-",
        "Basic study-token-of-tests",
    ],
)
def test_a_wrong_token_is_401_for_every_route(front: Front, given: str) -> None:
    routes = [("POST", "sessions"), ("GET", "sessions"), ("GET", "sessions/1"), ("GET", "reviews")]
    routes += [("POST", f"sessions/1/{end}") for end in ("attempts", "finalize", "abandon")]
    routes += [("GET", "wrong-notes"), ("GET", f"topics/{TOPIC}/weak-areas")]
    for method, path in routes:
        response = front.web.request(method, f"/study/users/{ANN}/{path}", headers={"Authorization": given})
        assert refusal(response) == (401, "unauthenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_what_others_have_is_unknown(front: Front) -> None:
    session = started(front.start())
    ben = Front(front.web, BEN)
    assert refusal(ben.start(TOPIC)) == (404, "unknown-topic")
    assert refusal(ben.get(f"topics/{TOPIC}/weak-areas")) == (404, "unknown-topic")
    assert refusal(ben.get(f"sessions/{session}")) == (404, "unknown-session")
    assert refusal(ben.answer(session, "q110")) == (404, "unknown-session")
    assert refusal(ben.finalize(session)) == refusal(ben.abandon(session)) == (404, "unknown-session")
    assert front.read(session)["status"] == "in_progress"


@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize("learner", [4, 0, 2**63 - 1])
def test_an_unknown_learner_is_404(front: Front, learner: int) -> None:
    nobody = Front(front.web, learner)
    answers = [nobody.start(), nobody.answer(1, "q110"), nobody.finalize(1), nobody.abandon(1)]
    answers += [nobody.get(path) for path in ("sessions", "reviews", "wrong-notes", "topics/11/weak-areas")]
    answers.append(nobody.get("reviews", due_before="2026-11-22"))
    assert {refusal(answer) for answer in answers} == {(404, "unknown-learner")}
    assert refusal(nobody.get("sessions/1")) == (404, "unknown-session")


@pytest.mark.usefixtures("leaves_nothing")
def test_an_impossible_id_is_404(front: Front, subtests: pytest.Subtests) -> None:
    for number in ("-1", "1.0", "one", "%00", "\u0661", str(2**63), "9" * 5000, "0x1", " 1", "1'"):
        with subtests.test(number[:20]):
            answers = [Front(front.web, number).get("sessions"), front.get(f"sessions/{number}")]
            answers += [
                front.post(f"sessions/{number}/{end}", {}) for end in ("attempts", "finalize", "abandon")
            ]
            answers.append(front.get(f"topics/{number}/weak-areas"))
            assert {refusal(each) for each in answers} == {(404, "not-found")}
