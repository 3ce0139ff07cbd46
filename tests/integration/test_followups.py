"""Follow-ups reach their receiver: signed, at least once, whatever it does, and never after a voiding."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from shared.config import Settings
from shared.followups.delivery import BATCH, deliver_due
from shared.followups.rows import claim
from shared.models import StudyFollowup
from shared.study.void import void_upload
from tests.race import at_once
from tests.receiver import NEW_SECRET, OLD_SECRET, Receiver, first, hang, receiving, status, trickle
from tests.world import NOW, RIGHT, WRONG, answer, ingest, load, rows, upload, uuid_of

NINE, TEN, ELEVEN = (f"2026-11-20T{hour:02}:00:00Z" for hour in (9, 10, 11))
MAX_TRIES = 3
Row = dict[str, Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def told(settings: Settings, receiver: Receiver) -> Settings:
    """Return settings that name the receiver."""
    return configured(settings, followup_webhook_url=receiver.url)


def configured(settings: Settings, **changes: Any) -> Settings:
    usual = {"followup_webhook_secrets": SecretStr(NEW_SECRET), "followup_max_tries": MAX_TRIES}
    return Settings.model_validate(settings.model_dump() | usual | changes)


def impatient(told: Settings) -> Settings:
    return told.model_copy(update={"followup_timeout": 0.5})


@pytest.fixture
def sent(engine: Engine) -> Row:
    """Ingest a session of one topic: a miss, an unsure pass, and two questions that were known."""
    load(engine)
    made = upload(answer("q111", NINE, WRONG), answer("twin110", TEN, RIGHT, unsure=True))
    ingest(engine, made)
    return made


def due(engine: Engine) -> None:
    """Let the next try of all that waits be due."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE study_followups SET next_try_at = now() WHERE status = 'waiting'"))


def only(engine: Engine, kind: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM study_followups WHERE kind <> :kind"), {"kind": kind})


def followups(engine: Engine) -> dict[str, Row]:
    return {row["kind"]: row for row in rows(engine, StudyFollowup)}


def fates(engine: Engine) -> list[tuple[str, int, str | None]]:
    return [(row["status"], row["tries"], row["last_error"]) for row in rows(engine, StudyFollowup)]


@pytest.mark.usefixtures("sent")
def test_I11_a_receiver_learns_which_questions_but_no_answers(
    engine: Engine, told: Settings, receiver: Receiver
) -> None:
    assert deliver_due(engine, told) == 2
    assert deliver_due(engine, told) == 0
    asked = followups(engine)
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
def test_only_notes_that_are_open_at_delivery_are_told(
    engine: Engine, told: Settings, receiver: Receiver
) -> None:
    ingest(engine, upload(answer("q111", ELEVEN)))
    ingest(engine, upload(answer("q111", "2026-11-21T11:00:00Z")))
    deliver_due(engine, told)
    explained = [
        request.json()["data"]["pub_ids"]
        for request in receiver.verified()
        if request.json()["type"] == "explain_misses"
    ]
    assert sorted(explained) == [[], [], ["q110"]]


@pytest.mark.parametrize("code", [500, 503, 408, 425, 429])
@pytest.mark.usefixtures("sent")
def test_what_fails_for_now_comes_again_under_its_id(
    engine: Engine, told: Settings, receiver: Receiver, code: int
) -> None:
    only(engine, "weak_areas")
    receiver.then(status(code, b"not now"), status(204))
    deliver_due(engine, told)
    assert fates(engine) == [("waiting", 1, f"{code} not now")]
    assert deliver_due(engine, told) == 0, "not before its time"
    due(engine)
    deliver_due(engine, told)
    assert fates(engine) == [("delivered", 2, None)]
    assert [request.id for request in receiver.verified()] == [str(followups(engine)["weak_areas"]["id"])] * 2


@pytest.mark.parametrize("code", [400, 401, 404, 410, 422])
@pytest.mark.usefixtures("sent")
def test_what_is_refused_is_dead_and_says_why(
    engine: Engine, told: Settings, receiver: Receiver, code: int
) -> None:
    only(engine, "weak_areas")
    receiver.then(status(code, b"Who are \0 you? \xff" + b"x" * 100_000))
    deliver_due(engine, told)
    [(fate, tries, kept)] = fates(engine)
    assert (fate, tries) == ("dead", 1)
    assert kept is not None
    assert kept.startswith(f"{code} Who are \ufffd you? \ufffdx")
    assert len(kept) < 400


@pytest.mark.usefixtures("sent")
def test_a_redirect_is_not_followed(engine: Engine, told: Settings, receiver: Receiver) -> None:
    receiver.then(status(307, Location="/elsewhere"))
    deliver_due(engine, told)
    assert fates(engine) == [("dead", 1, "307")] * 2
    assert "/elsewhere" not in {request.path for request in receiver.requests}


BEGINNINGS = {
    "of its headers": b"HTTP/1.1 200 OK\r\nX: ",
    "of its answer": b"HTTP/1.1 500 No\r\nContent-Length: 200\r\n\r\n",
}


# pytest's own limit would tell that somebody waits for ever.
@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", [None, *BEGINNINGS])
@pytest.mark.usefixtures("sent")
def test_a_receiver_that_hangs_or_trickles_is_given_up(
    engine: Engine, told: Settings, receiver: Receiver, part: str | None
) -> None:
    receiver.then(trickle(receiver, BEGINNINGS[part]) if part else hang(receiver))
    deliver_due(engine, impatient(told))
    assert fates(engine) == [("waiting", 1, "no answer within 0.5 s")] * 2


@pytest.mark.timeout(20)
@pytest.mark.usefixtures("sent")
def test_the_rest_of_a_good_answer_is_not_waited_for(
    engine: Engine, told: Settings, receiver: Receiver
) -> None:
    receiver.then(trickle(receiver, b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"))
    deliver_due(engine, told)
    assert fates(engine) == [("delivered", 1, None)] * 2


@pytest.mark.timeout(20)
def test_those_that_hang_hang_side_by_side_and_delay_no_other(
    engine: Engine, told: Settings, receiver: Receiver
) -> None:
    load(engine)
    for _ in range(BATCH // 2):
        ingest(engine, upload(answer("q110", NINE)))
    receiver.then(*[hang(receiver)] * (BATCH - 1), status(200))
    assert deliver_due(engine, impatient(told)) == BATCH
    assert sorted(fate for fate, _, _ in fates(engine)) == ["delivered", *["waiting"] * (BATCH - 1)]


@pytest.mark.usefixtures("sent")
def test_nobody_listens_and_the_try_is_recorded_without_the_url(engine: Engine, settings: Settings) -> None:
    nobody = configured(settings, followup_webhook_url="http://127.0.0.1:1/secret-path")
    deliver_due(engine, nobody)
    [(fate, _, kept), _] = fates(engine)
    assert fate == "waiting"
    assert kept is not None
    assert kept.startswith("ConnectError at shared/followups/post.py:")


@pytest.mark.usefixtures("sent")
def test_I9_its_tries_are_exhausted(engine: Engine, told: Settings, receiver: Receiver) -> None:
    receiver.then(status(500, b"never"))
    for _ in range(MAX_TRIES + 1):
        deliver_due(engine, told)
        due(engine)
    assert fates(engine) == [("dead", MAX_TRIES, "500 never")] * 2
    assert len(receiver.requests) == 2 * MAX_TRIES


def cut_off(engine: Engine) -> int:
    """Claim as a worker does that is killed before it could deliver."""
    with engine.begin() as connection:
        return len(claim(connection, limit=BATCH, lease=60, max_tries=MAX_TRIES))


@pytest.mark.usefixtures("sent")
def test_I1_what_was_cut_off_is_delivered_when_its_lease_is_over(engine: Engine, told: Settings) -> None:
    assert cut_off(engine) == 2
    assert deliver_due(engine, told) == 0
    due(engine)
    deliver_due(engine, told)
    assert fates(engine) == [("delivered", 2, None)] * 2


@pytest.mark.usefixtures("sent")
def test_I9_what_is_always_cut_off_is_buried(engine: Engine, told: Settings, receiver: Receiver) -> None:
    for _ in range(MAX_TRIES):
        assert cut_off(engine) == 2
        due(engine)
    deliver_due(engine, told)
    assert fates(engine) == [("dead", MAX_TRIES, "every try was cut off")] * 2
    assert receiver.requests == []


@pytest.mark.usefixtures("sent")
def test_several_deliverers_deliver_each_once(engine: Engine, told: Settings, receiver: Receiver) -> None:
    for _ in range(BATCH):
        ingest(engine, upload(answer("q110", ELEVEN)))
    assert sorted(at_once(4, lambda _: deliver_due(engine, told))) == [0, 2, BATCH, BATCH]
    assert len({request.id for request in receiver.verified()}) == len(receiver.requests) == 2 * BATCH + 2


@pytest.mark.usefixtures("sent")
def test_no_transaction_waits_for_the_receiver(engine: Engine, told: Settings, receiver: Receiver) -> None:
    transactions = text("""
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
    """)
    counted = []

    def count() -> None:
        with engine.connect() as connection:
            counted.append(connection.scalar(transactions))

    only(engine, "weak_areas")
    receiver.then(first(count, status(200)))
    deliver_due(engine, told)
    assert counted == [0]


def void(engine: Engine, sent: Row) -> int:
    return void_upload(engine, uuid_of(sent), reason="a test", now=NOW, default_zone="UTC")


def test_a_session_may_be_voided_while_the_receiver_thinks(
    engine: Engine, told: Settings, receiver: Receiver, sent: Row
) -> None:
    receiver.then(first(lambda: void(engine, sent), status(200)))
    deliver_due(engine, told)
    assert fates(engine) == [("skipped", 1, "session voided")] * 2


@pytest.mark.usefixtures("sent")
def test_nothing_is_told_of_a_voided_session(engine: Engine, told: Settings, receiver: Receiver) -> None:
    receiver.then(status(500))
    deliver_due(engine, told)
    with engine.begin() as connection:
        connection.execute(text("UPDATE study_quiz_sessions SET voided_at = now()"))
    due(engine)
    deliver_due(engine, told)
    assert fates(engine) == [("skipped", 2, "session voided")] * 2
    assert len(receiver.requests) == 2


@pytest.mark.usefixtures("sent")
def test_without_a_receiver_all_are_skipped_and_say_so(engine: Engine, settings: Settings) -> None:
    assert deliver_due(engine, settings) == 2
    assert fates(engine) == [("skipped", 0, "no receiver: FOLLOWUP_WEBHOOK_URL is not set")] * 2
    assert deliver_due(engine, settings) == 0


@pytest.mark.parametrize("known", [[OLD_SECRET], [OLD_SECRET, NEW_SECRET], [NEW_SECRET]])
@pytest.mark.usefixtures("sent")
def test_secrets_are_rotated_without_a_gap(
    engine: Engine, settings: Settings, receiver: Receiver, known: list[str]
) -> None:
    secrets = SecretStr(" , ".join(known) + ",")
    deliver_due(
        engine, configured(settings, followup_webhook_url=receiver.url, followup_webhook_secrets=secrets)
    )
    assert fates(engine) == [("delivered", 1, None)] * 2
    for secret in known:
        assert len(receiver.verified(secret)) == 2
    assert {len(request.headers["webhook-signature"].split()) for request in receiver.requests} == {
        len(known)
    }


@pytest.mark.usefixtures("sent")
def test_a_failure_after_its_lease_does_not_end_that_of_another(
    engine: Engine, told: Settings, receiver: Receiver
) -> None:
    def overtake() -> None:
        due(engine)
        cut_off(engine)

    only(engine, "weak_areas")
    receiver.then(first(overtake, status(500)))
    deliver_due(engine, told)
    assert fates(engine) == [("waiting", 2, None)]
    assert deliver_due(engine, told) == 0
