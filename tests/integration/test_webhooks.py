"""Webhooks reach their receiver, signed, and what it answers decides what becomes of them."""

import gc
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from shared.config import Settings
from shared.models import Outbox
from shared.webhooks import KEPT_BYTES
from tests.factories import answer, ingest, load, question, rows, upload
from tests.receiver import NEW_SECRET, OLD_SECRET, Receiver, hang, status, trickle
from tests.webhooks import (
    ELEVEN,
    NINE,
    configured,
    deliver_due,
    fates,
    finished_session,
    keep_only,
    let_all_be_due,
)
from worker.sweeper import MAX_WEBHOOKS


@pytest.fixture
def with_receiver(settings: Settings, receiver: Receiver) -> Settings:
    """Return settings that name the receiver."""
    return configured(settings, webhook_url=receiver.url)


def impatient(with_receiver: Settings, seconds: float = 0.5) -> Settings:
    return with_receiver.model_copy(update={"webhook_timeout": seconds})


@pytest.fixture
def sent(engine: Engine) -> None:
    finished_session(engine)


def outbox(engine: Engine) -> dict[str, dict[str, Any]]:
    return {row["kind"]: row for row in rows(engine, Outbox)}


@pytest.mark.usefixtures("sent")
def test_I11_a_receiver_learns_which_questions_but_no_answers(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    assert deliver_due(engine, with_receiver) == 2
    assert deliver_due(engine, with_receiver) == 0
    asked = outbox(engine)
    assert {row["status"] for row in asked.values()} == {"delivered"}
    where = {
        "session_id": asked["weak_areas"]["study_quiz_session_id"],
        "user_id": 1,
        "study_topic_id": 11,
    }
    assert {request.id: request.json() for request in receiver.verified()} == {
        str(asked[kind]["id"]): {
            "type": kind,
            "timestamp": asked[kind]["created_at"].isoformat(),
            "data": where | open_notes,
        }
        for kind, open_notes in {"explain_misses": {"pub_ids": ["q111", "q110"]}, "weak_areas": {}}.items()
    }
    assert {request.headers["content-type"] for request in receiver.requests} == {"application/json"}


@pytest.mark.usefixtures("sent")
def test_only_notes_that_are_open_at_delivery_are_sent(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    ingest(engine, upload(answer("q111", ELEVEN)))
    ingest(engine, upload(answer("q111", "2026-11-21T11:00:00Z")))
    deliver_due(engine, with_receiver)
    explained = [
        request.json()["data"]["pub_ids"]
        for request in receiver.verified()
        if request.json()["type"] == "explain_misses"
    ]
    assert sorted(explained) == [[], [], ["q110"]]


@pytest.mark.usefixtures("sent")
def test_a_question_that_moved_before_delivery_is_not_explained(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    load(engine, {"questions": [question(110, user_id=2, study_topic_id=21)]}, force=True)
    deliver_due(engine, with_receiver)
    explained = [request.json()["data"].get("pub_ids") for request in receiver.verified()]
    assert sorted(explained, key=str) == [None, ["q111"]]


# A proxy answers 404 while the receiver is deployed, 308 where it wants https.
@pytest.mark.parametrize("code", [500, 503, 408, 429, 400, 401, 404, 422, 301, 308])
@pytest.mark.usefixtures("sent")
def test_what_fails_for_now_comes_again_under_its_id(
    engine: Engine, with_receiver: Settings, receiver: Receiver, code: int
) -> None:
    keep_only(engine, "weak_areas")
    receiver.then(status(code, b"not now"), status(204))
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("waiting", 1, f"{code} not now")]
    assert deliver_due(engine, with_receiver) == 0, "not before its time"
    let_all_be_due(engine)
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("delivered", 2, None)]
    assert [request.id for request in receiver.verified()] == [str(outbox(engine)["weak_areas"]["id"])] * 2


@pytest.mark.usefixtures("sent")
def test_what_is_gone_is_dead_at_once_and_says_why(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    keep_only(engine, "weak_areas")
    receiver.then(status(410, b"Who are \0 you? \xff" + b"x" * 100_000))
    deliver_due(engine, with_receiver)
    [(fate, tries, kept)] = fates(engine)
    assert (fate, tries) == ("dead", 1)
    assert kept is not None
    assert kept.startswith("410 Who are \ufffd you? \ufffdx")
    assert len(kept) < 400


@pytest.mark.usefixtures("sent")
def test_a_redirect_is_not_followed(engine: Engine, with_receiver: Settings, receiver: Receiver) -> None:
    receiver.then(status(307, Location="/elsewhere"))
    deliver_due(engine, with_receiver)
    assert fates(engine) == [("waiting", 1, "307")] * 2
    assert "/elsewhere" not in {request.path for request in receiver.requests}


def wait_of_the_next_try(engine: Engine) -> float:
    with engine.connect() as connection:
        waits = connection.scalar(text("SELECT extract(epoch FROM next_try_at - now()) FROM outbox"))
    return float(waits)


# The three forms that RFC 9110 asks a recipient to read, and that of an e-mail.
IN_AN_HOUR = ("%a, %d %b %Y %T GMT", "%A, %d-%b-%y %T GMT", "%a %b %e %T %Y", "%a, %d %b %Y %T -0000")


@pytest.mark.parametrize(
    ("code", "retry_after", "shortest", "longest"),
    [
        (503, "1800", 1700, 1801),
        (429, "1800", 1700, 1801),
        (404, "1800", 1700, 1801),
        (308, "1800", 1700, 1801),
        *((503, form, 3500, 3601) for form in IN_AN_HOUR),
        (503, "1", 1, 11),  # less than our own wait
        (503, "9" * 400, 86_300, 86_401),  # a day at most
        (503, "-5", 1, 11),
        (503, "soon", 1, 11),
        (503, "\u00b2", 1, 11),
        (503, "Wed, 32 Nov 2026 99:00:00 GMT", 1, 11),
        (503, "Sat, 28 Nov 2020 09:00:00 -0000", 1, 11),
    ],
)
@pytest.mark.usefixtures("sent")
def test_the_next_try_is_not_earlier_than_the_receiver_asks(  # noqa: PLR0917  # a table
    engine: Engine,
    with_receiver: Settings,
    receiver: Receiver,
    code: int,
    retry_after: str,
    shortest: float,
    longest: float,
) -> None:
    if retry_after in IN_AN_HOUR:
        retry_after = (datetime.now(UTC) + timedelta(hours=1)).strftime(retry_after)
    keep_only(engine, "weak_areas")
    receiver.then(status(code, **{"Retry-After": retry_after}))
    deliver_due(engine, with_receiver)
    assert shortest < wait_of_the_next_try(engine) < longest


BEGINNINGS = {
    "of its headers": b"HTTP/1.1 200 OK\r\nX: ",
    "of its answer": b"HTTP/1.1 500 No\r\nContent-Length: 200\r\n\r\n",
}


@pytest.mark.parametrize("part", [None, *BEGINNINGS])
@pytest.mark.usefixtures("sent")
def test_a_receiver_that_hangs_or_trickles_is_given_up(
    engine: Engine, with_receiver: Settings, receiver: Receiver, part: str | None
) -> None:
    receiver.then(trickle(receiver, BEGINNINGS[part]) if part else hang(receiver))
    deliver_due(engine, impatient(with_receiver))
    assert fates(engine) == [("waiting", 1, "no complete answer within 0.5 s")] * 2


@pytest.mark.usefixtures("sent")
def test_the_beginning_of_a_long_refusal_is_kept_and_nothing_is_left_behind(
    engine: Engine, with_receiver: Settings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.then(status(500, b"x" * 10_000))
    deliver_due(engine, with_receiver)
    gc.collect()
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []
    assert {error for _, _, error in fates(engine)} == {f"500 {'x' * KEPT_BYTES}"}


@pytest.mark.usefixtures("sent")
def test_the_rest_of_a_good_answer_is_not_waited_for(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    receiver.then(trickle(receiver, b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"))
    deliver_due(engine, impatient(with_receiver, 20.0))
    assert fates(engine) == [("delivered", 1, None)] * 2


def test_those_that_hang_hang_side_by_side_and_delay_no_other(
    engine: Engine, with_receiver: Settings, receiver: Receiver
) -> None:
    load(engine)
    for _ in range(MAX_WEBHOOKS // 2):
        ingest(engine, upload(answer("q110", NINE)))
    receiver.then(*[hang(receiver)] * (MAX_WEBHOOKS - 1), status(200))
    assert deliver_due(engine, impatient(with_receiver, 6.0)) == MAX_WEBHOOKS
    assert sorted(fate for fate, _, _ in fates(engine)) == ["delivered", *["waiting"] * (MAX_WEBHOOKS - 1)]


@pytest.mark.usefixtures("sent")
def test_without_a_receiver_the_try_is_recorded_without_the_url(engine: Engine, settings: Settings) -> None:
    nobody = configured(settings, webhook_url="http://127.0.0.1:1/secret-path")
    deliver_due(engine, nobody)
    [(fate, _, kept), _] = fates(engine)
    assert fate == "waiting"
    assert kept is not None
    assert kept.startswith("ConnectError at shared/webhooks.py:")


@pytest.mark.parametrize("known", [[OLD_SECRET], [OLD_SECRET, NEW_SECRET], [NEW_SECRET]])
@pytest.mark.usefixtures("sent")
def test_secrets_are_rotated_without_a_gap(
    engine: Engine, settings: Settings, receiver: Receiver, known: list[str]
) -> None:
    secrets = SecretStr(" , ".join(known) + ",")
    deliver_due(engine, configured(settings, webhook_url=receiver.url, webhook_secrets=secrets))
    assert fates(engine) == [("delivered", 1, None)] * 2
    for secret in known:
        assert len(receiver.verified(secret)) == 2
    assert {len(request.headers["webhook-signature"].split()) for request in receiver.requests} == {
        len(known)
    }


def test_ids_of_webhooks_follow_their_time(engine: Engine) -> None:
    """Random ones would each meet another page of the index, which is written whole after a checkpoint."""
    add = text("INSERT INTO outbox (kind, client_session_uuid) VALUES ('upload.dead', :id) RETURNING id")
    ids = []
    for _ in range(3):
        with engine.begin() as connection:
            ids.append(connection.scalar(add, {"id": uuid4()}))
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert {each.version for each in ids} == {7}
