"""What a learner's own token allows: to send their own sessions, read of these, and learn of no others."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine

from api import auth
from api.app import create_app
from cli.local.servers import Servers
from shared import spool
from shared.config import Settings
from shared.learners import delete_learner
from shared.models import Upload, UploadConflict
from shared.ops.actions import accept_conflict
from shared.tokens import generate_key, mint, public_half
from study_outbox import Outbox
from tests.factories import (
    ANN,
    BEN,
    answer,
    deliver,
    delivery,
    everything,
    forget,
    progress,
    reviews,
    rows,
    upload,
    work_off,
)
from tests.processes import until
from tests.unit.test_tokens import FORGED

ENDPOINT = "/ingest/study/attempts"
AT = "2026-11-20T09:00:00Z"
ANNS, BENS = answer("q110", AT), answer("q210", AT)
AUDIENCE = "https://ds.example"
KEY, NEW_KEY = generate_key("EdDSA"), generate_key("HS256")
Serve = Callable[..., httpx.Client]

pytestmark = pytest.mark.usefixtures("catalog")


def bearer(learner: int, key: dict[str, Any] = KEY, **changes: Any) -> dict[str, str]:
    given = {"audience": AUDIENCE, "issuer": "", "now": datetime.now(UTC), "valid": timedelta(hours=12)}
    return {"Authorization": f"Bearer {mint(key, learner, **(given | changes))}"}


def write(path: Path, *keys: dict[str, Any]) -> None:
    path.write_text(json.dumps({"keys": [public_half(key) for key in keys]}))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    write(tmp_path / "keys.json", KEY)
    return tmp_path / "keys.json"


@pytest.fixture
def settings(settings: Settings, keys: Path) -> Settings:
    return settings.model_copy(
        update={"viewer_token_keys": str(keys), "viewer_token_audience": AUDIENCE, "viewer_rate": "9999/hour"}
    )


def post(web: httpx.Client, sent: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[int, Any]:
    response = web.post(ENDPOINT, json=sent, headers=headers)
    return response.status_code, response.json()


def get(web: httpx.Client, sent: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[int, Any]:
    response = web.get(f"{ENDPOINT}/{sent['client_session_uuid']}", headers=headers)
    return response.status_code, response.json()


def test_a_learner_sends_and_sees_their_own(web: httpx.Client, engine: Engine) -> None:
    sent = upload(ANNS)
    status, body = post(web, sent, bearer(ANN))
    assert (status, body["client_session_uuid"]) == (202, sent["client_session_uuid"])
    assert get(web, sent, bearer(ANN))[1]["status"] == "received"
    assert rows(engine, Upload)[0]["learner_id"] == ANN
    work_off(engine, sent)
    assert get(web, sent, bearer(ANN))[1]["status"] == "ingested"
    assert post(web, sent, bearer(ANN))[1]["status"] == "already_ingested"
    assert post(web, sent | {"finished_at": AT}, bearer(ANN))[0] == 409
    assert rows(engine, UploadConflict)[0]["learner_id"] == ANN


@pytest.mark.parametrize("answers", [[BENS], [ANNS, BENS], [answer("q210", AT, 99)]])
def test_I6_another_learners_questions_are_rejected_before_the_first_write(
    web: httpx.Client, engine: Engine, answers: list[dict[str, Any]]
) -> None:
    before = everything(engine)
    sent = upload(*answers)
    assert post(web, sent, bearer(ANN))[0] == 202
    work_off(engine, sent)
    after = everything(engine)
    assert {name for name in after if after[name] != before[name]} <= {"uploads", "upload_events"}
    status, found = get(web, sent, bearer(ANN))
    assert (status, found["status"], found["reason"]) == (200, "rejected", "other_learner")
    # What it says of each attempt tells another's question from an unknown one in nothing.
    assert {each["reason"] for each in found["result"]["attempts"]} == {"unknown_question"}
    assert post(web, sent, bearer(ANN))[0] == 422


# Of each upload its own; what was learned depends on what was sent before.
OWN = {"received_at", "finalized_at", "client_session_uuid", "topics", "questions"}


def shown(value: Any) -> Any:
    """Leave out what differs between any two uploads."""
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items() if name not in OWN}
    return [shown(each) for each in value] if isinstance(value, list) else value


def work_off_all(engine: Engine) -> None:
    for row in rows(engine, Upload):
        work_off(engine, {"client_session_uuid": str(row["client_session_uuid"])})


@pytest.mark.parametrize("sender", [BEN, None], ids=["sent by the learner", "sent by the shared token"])
@pytest.mark.parametrize("sent", [BENS, ANNS], ids=["the same content", "other content"])
def test_without_a_right_to_it_an_upload_is_answered_as_unknown(
    web: httpx.Client, engine: Engine, sender: int | None, sent: dict[str, Any]
) -> None:
    taken = upload(BENS)
    deliver(engine, taken, learner_id=sender)
    work_off_all(engine)
    before = get(web, taken, bearer(BEN)), progress(engine)

    def talk(uuid: str) -> list[Any]:
        mine = upload(sent, client_session_uuid=uuid)
        seen = [get(web, mine, bearer(ANN)), post(web, mine, bearer(ANN)), get(web, mine, bearer(ANN))]
        work_off_all(engine)
        changed = mine | {"finished_at": AT}
        for each in (mine, changed, mine):
            seen += [post(web, each, bearer(ANN)), get(web, mine, bearer(ANN))]
        return [(status, shown(body)) for status, body in seen]

    assert talk(taken["client_session_uuid"]) == talk(str(uuid4()))
    assert get(web, taken, bearer(BEN)) == before[0]
    assert progress(engine)[-1] == before[1][-1]


@pytest.mark.parametrize("replayed_after", [{0, 1, 2}, {2}, {0, 2}, {1, 2}])
def test_I2_a_session_counts_once_in_whatever_order_its_senders_come(
    web: httpx.Client, engine: Engine, replayed_after: set[int]
) -> None:
    """By the device of another learner, by their own, and by an operator who imports it."""
    for senders in permutations([bearer(BEN), bearer(ANN), {}]):
        sent = upload(ANNS)
        for number, headers in enumerate(senders):
            assert post(web, sent, headers or None)[0] in {200, 202, 422}
            if number in replayed_after:
                work_off_all(engine)
        assert get(web, sent, bearer(ANN))[1]["status"] == "ingested", senders
        assert reviews(engine) == {110: 1}
        forget(engine)


def test_a_trusted_sender_may_send_what_was_rejected_for_its_token(web: httpx.Client, engine: Engine) -> None:
    sent = upload(ANNS)
    post(web, sent, bearer(BEN))
    work_off_all(engine)
    assert post(web, sent)[0] == 202
    work_off_all(engine)
    assert get(web, sent)[1]["status"] == "ingested"


@pytest.mark.parametrize("state", ["received", "dead"])
def test_I8_a_conflict_with_an_upload_of_unknown_owner_is_kept_and_not_answered(
    web: httpx.Client, engine: Engine, state: str
) -> None:
    sent = upload(ANNS)
    deliver(engine, sent)
    if state == "dead":
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE uploads SET status = 'dead', finalized_at = now()")
    status, body = post(web, sent | {"attempts": [BENS]}, bearer(BEN))
    assert (status, body["status"]) == (202, "received")
    assert get(web, sent, bearer(BEN))[0] == 404
    assert [row["learner_id"] for row in rows(engine, UploadConflict)] == [BEN]


def test_an_accepted_conflict_keeps_its_senders_learner(web: httpx.Client, engine: Engine) -> None:
    sent, other = upload(ANNS), [answer("q111", AT)]
    post(web, sent, bearer(ANN))
    work_off_all(engine)
    assert post(web, sent | {"attempts": other})[0] == 409
    (conflict,) = rows(engine, UploadConflict)
    with engine.begin() as connection:
        accept_conflict(connection, conflict["id"])
    assert [row["learner_id"] for row in rows(engine, Upload)] == [None]
    assert [row["learner_id"] for row in rows(engine, UploadConflict)] == [ANN]


def test_a_spooled_upload_keeps_its_senders_learner(engine: Engine, servers: Servers) -> None:
    with Redis.from_url(servers.redis_url, decode_responses=True) as redis:
        redis.flushall()
        spool.push(redis, delivery(upload(BENS), learner_id=ANN))
        spool.drain(redis, engine)
    work_off_all(engine)
    assert [(row["learner_id"], row["reason"]) for row in rows(engine, Upload)] == [(ANN, "other_learner")]


def test_deleting_a_learner_blanks_what_their_token_sent(web: httpx.Client, engine: Engine) -> None:
    post(web, upload(answer("unknown", AT)), bearer(ANN))
    work_off_all(engine)
    with engine.begin() as connection:
        assert delete_learner(connection, ANN).uploads == 1
    assert [row["payload"] for row in rows(engine, Upload)] == [None]


def test_every_forged_token_is_401_on_every_route(web: httpx.Client, engine: Engine) -> None:
    for name, forged in FORGED.items():
        token = forged().encode()
        headers = {"Authorization": b"Bearer " + token} if token else {"Authorization": b"Bearer"}
        for method, path in [("POST", ENDPOINT), ("GET", f"{ENDPOINT}/{uuid4()}")]:
            response = web.request(method, path, json=upload(ANNS), headers=headers)
            assert (response.status_code, response.json()["type"]) == (401, "/problems/unauthenticated"), name
            error = ' error="invalid_token"' if token else ""
            assert response.headers["WWW-Authenticate"] == f"Bearer{error}", name
    assert rows(engine, Upload) == []


@pytest.mark.parametrize(
    "wrong",
    [{"audience": "https://other.example"}, {"valid": timedelta(seconds=-61)}, {"key": NEW_KEY}],
    ids=["audience", "expired", "key"],
)
def test_a_wrong_token_is_401(web: httpx.Client, wrong: dict[str, Any]) -> None:
    assert post(web, upload(ANNS), bearer(ANN, **wrong))[0] == 401


def test_no_other_route_takes_a_learners_token(serve: Serve, settings: Settings) -> None:
    open_to_all = {"/livez", "/readyz", "/openapi.json", "/docs"}
    names = ("ops_password", "metrics_token", "catalog_token")
    changes = {name: SecretStr(f"{name} of tests") for name in names}
    settings = settings.model_copy(update=changes)
    app = create_app(settings)
    web = serve(app, settings)
    tried = 0
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(("/ingest", "/docs", "/problems")) or rule.rule in open_to_all:
            continue
        path = re.sub("<[^>]+>", "1", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            response = web.request(method, path, headers=bearer(ANN), json={})
            assert response.status_code == 401, (method, path)
            tried += 1
    assert tried > 10
    assert web.get("/ops/", headers=bearer(ANN)).headers["Location"].startswith("/ops/login")


def test_keys_change_without_a_restart(web: httpx.Client, keys: Path) -> None:
    def statuses() -> list[int]:
        return [post(web, upload(ANNS), bearer(ANN, key))[0] for key in (KEY, NEW_KEY)]

    assert statuses() == [202, 401]
    write(keys, KEY, NEW_KEY)
    until(lambda: statuses() == [202, 202], "the new key counts")
    write(keys, NEW_KEY)
    until(lambda: statuses() == [401, 202], "the old key counts no more")


def test_T6_an_outbox_outlives_an_expired_token_and_a_rotated_key(
    web: httpx.Client, engine: Engine, keys: Path, tmp_path: Path
) -> None:
    def token(key: dict[str, Any], **changes: Any) -> str:
        return bearer(ANN, key, **changes)["Authorization"].removeprefix("Bearer ")

    renewed = [token(NEW_KEY), token(KEY)]
    tokens = [token(KEY, valid=timedelta(seconds=-120))]

    def ask(is_refused: bool) -> str:  # noqa: FBT001  # as the outbox calls it
        tokens.extend([renewed.pop()] if is_refused else [])
        return tokens[-1]

    outbox = Outbox(tmp_path / "outbox.db", url=str(web.base_url), learner=ANN, token=ask)
    for each in (KEY, NEW_KEY):
        write(keys, each)
        until(lambda: post(web, upload(ANNS), bearer(ANN, each))[0] == 202, "the key counts")  # noqa: B023
        for _ in range(6):
            outbox.add(upload(ANNS))
        outbox.flush()
        assert outbox.status().waiting == 0
    outbox.close()
    assert renewed == []
    assert [row["learner_id"] for row in rows(engine, Upload)] == [ANN] * 14


def test_a_learner_who_sends_too_much_waits_alone(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: 1800.0))  # no hour ends meanwhile
    settings = settings.model_copy(update={"viewer_rate": "2/hour"})
    web = serve(create_app(settings), settings)
    sent = upload(ANNS)
    assert [post(web, sent, bearer(ANN))[0], get(web, sent, bearer(ANN))[0]] == [202, 200]
    response = web.post(ENDPOINT, json=sent, headers=bearer(ANN))
    assert (response.status_code, response.json()["type"]) == (429, "/problems/too-many-requests")
    assert int(response.headers["Retry-After"]) == 1800
    assert get(web, sent, bearer(ANN))[0] == 429
    assert post(web, upload(BENS), bearer(BEN))[0] == 202
    assert [post(web, upload(ANNS))[0] for _ in range(3)] == [202] * 3


def test_learners_tokens_alone_are_enough(serve: Serve, settings: Settings) -> None:
    settings = settings.model_copy(update={"viewer_sync_token": SecretStr("")})
    web = serve(create_app(settings), settings)
    assert post(web, upload(ANNS), bearer(ANN))[0] == 202
    assert post(web, upload(ANNS), {"Authorization": "Bearer"})[0] == 401


def test_no_token_appears_in_the_log(web: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = bearer(ANN, audience="https://other.example")
    post(web, upload(ANNS), wrong)
    post(web, upload(ANNS), bearer(ANN))
    printed = "".join(capsys.readouterr())
    assert "token.refused" in printed
    assert wrong["Authorization"].split(".")[-1] not in printed
