"""What becomes of a delivery: new, known, or a conflict (I8)."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.models import Upload, UploadConflict
from shared.uploads import MAX_CONFLICTS, Receipt, Verdict, receive
from tests.factories import (
    ARRIVAL,
    answer,
    deliver,
    delivery,
    ingest,
    load,
    rows,
    standing,
    statuses,
    upload,
    work_off,
)
from tests.race import overlap

AT = "2026-11-20T09:00:00Z"
NEW, PENDING, CONFLICT = Receipt(Verdict.NEW), Receipt(Verdict.PENDING), Receipt(Verdict.CONFLICT)


@pytest.fixture
def sent() -> dict[str, Any]:
    return upload(answer("q110", AT), answer("q120", AT))


@pytest.fixture
def other(sent: dict[str, Any]) -> dict[str, Any]:
    """Make other content under the same uuid."""
    return sent | {"attempts": sent["attempts"][::-1]}


def shown(receipt: Receipt) -> tuple[Verdict, str | None, Any]:
    return receipt.verdict, receipt.reason, json.loads(receipt.result or "null")


def test_the_row_is_the_record_of_a_new_upload(engine: Engine, sent: dict[str, Any]) -> None:
    with engine.begin() as connection:
        assert receive(connection, [delivery(sent)], first_try_after=40) == [NEW]
        wait = text("SELECT next_try_at - now() FROM uploads")
        assert connection.scalar(wait) == timedelta(seconds=40)
    (row,) = rows(engine, Upload)
    assert (row["payload"], row["received_at"]) == (sent, ARRIVAL)
    assert (row["status"], row["tries"], row["result"]) == ("received", 1, None)


@pytest.mark.parametrize(
    "retried",
    [
        {"sent_at": "2026-11-25T09:00:00Z"},
        {"unknown": [1, 2]},
        {"attempts": [answer("q110", "2026-11-20T18:00:00.000+09:00"), answer("q120", AT, unknown="x")]},
    ],
)
def test_I8_the_same_content_is_the_same_upload(
    engine: Engine, sent: dict[str, Any], retried: dict[str, Any]
) -> None:
    deliver(engine, sent)
    assert deliver(engine, sent | retried, ARRIVAL + timedelta(days=1)) == PENDING
    (row,) = rows(engine, Upload)
    assert (row["payload"], row["received_at"]) == (sent, ARRIVAL)
    assert rows(engine, UploadConflict) == []


@pytest.mark.parametrize("status", ["received", "ingested", "dead"])
def test_I8_other_content_is_a_conflict_and_kept_once(
    engine: Engine, sent: dict[str, Any], other: dict[str, Any], status: str
) -> None:
    deliver(engine, sent)
    if status != "received":
        close(engine, status)
    assert [deliver(engine, other), deliver(engine, other | {"sent_at": AT})] == [CONFLICT] * 2
    (conflict,) = rows(engine, UploadConflict)
    assert (conflict["payload"], conflict["received_at"]) == (other, ARRIVAL)
    assert (rows(engine, Upload)[0]["payload"], statuses(engine)) == (sent, [status])


def close(engine: Engine, status: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET status = :s, finalized_at = now()"), {"s": status})


def test_a_final_upload_is_answered_by_its_status(engine: Engine, sent: dict[str, Any]) -> None:
    load(engine)
    result = ingest(engine, sent).result
    assert shown(deliver(engine, sent)) == (Verdict.INGESTED, None, result)
    close(engine, "dead")
    assert deliver(engine, sent).verdict is Verdict.DEAD


def test_new_content_supersedes_a_rejected_upload(
    engine: Engine, sent: dict[str, Any], other: dict[str, Any]
) -> None:
    deliver(engine, sent)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET tries = 4, last_error = 'of the third try'"))
    refused = ingest(engine, sent)  # the catalog is empty
    assert shown(deliver(engine, sent)) == (Verdict.REJECTED, "unknown_questions", refused.result)
    load(engine)
    assert deliver(engine, other, ARRIVAL + timedelta(days=1)) == NEW
    (row,) = rows(engine, Upload)
    assert (row["payload"], row["received_at"]) == (other, ARRIVAL + timedelta(days=1))
    assert (row["status"], row["tries"]) == ("received", 1)
    assert (row["reason"], row["result"], row["last_error"], row["finalized_at"]) == (None,) * 4
    assert deliver(engine, sent) == CONFLICT
    work_off(engine, other)
    assert standing(engine, other).status == "ingested"


def test_conflicts_of_one_uuid_are_few(engine: Engine, sent: dict[str, Any]) -> None:
    deliver(engine, sent)
    contents = [sent | {"finished_at": f"2026-11-22T09:{n:02}:00Z"} for n in range(MAX_CONFLICTS + 3)]
    for _ in range(2):
        assert [deliver(engine, content) for content in contents] == [CONFLICT] * len(contents)
    # Another uuid has a number of its own.
    another = upload(*sent["attempts"])
    assert [deliver(engine, another), deliver(engine, another | {"sent_at": None, "started_at": AT})] == [
        NEW,
        CONFLICT,
    ]
    kept = [row["payload"] for row in rows(engine, UploadConflict)]
    assert [each for each in kept if each["client_session_uuid"] == sent["client_session_uuid"]] == contents[
        :MAX_CONFLICTS
    ]
    assert len(kept) == MAX_CONFLICTS + 1


def test_two_supersede_a_rejected_upload_at_once_and_one_does(
    engine: Engine, sent: dict[str, Any], other: dict[str, Any]
) -> None:
    ingest(engine, sent)
    third = sent | {"attempts": sent["attempts"][:1]}
    early, late = overlap(engine, lambda e: deliver(e, other), lambda e: deliver(e, third))
    assert (early.result(), late.result()) == (NEW, CONFLICT)
    assert [row["payload"] for row in rows(engine, UploadConflict)] == [third]


def test_a_batch_is_answered_in_its_order(
    engine: Engine, sent: dict[str, Any], other: dict[str, Any]
) -> None:
    fresh = upload(answer("q111", AT))
    batch = [delivery(each) for each in (sent, fresh, other, sent)]
    with engine.begin() as connection:
        assert receive(connection, batch, first_try_after=30) == [NEW, NEW, CONFLICT, PENDING]
        assert receive(connection, [], first_try_after=30) == []
    assert statuses(engine) == ["received"] * 2
