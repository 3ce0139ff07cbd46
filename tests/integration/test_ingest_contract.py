"""Every status and problem type of the endpoint."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from api.schemas import RESULT
from shared.payload import EXAMPLE_UPLOAD
from tests.factories import an_upload
from tests.processes import until

NOBODYS = "00000000-0000-4000-8000-000000000000"

ENDPOINT = "/ingest/study/attempts"
EnqueuedFor = Callable[[], list[str]]


def rows(engine: Engine, table: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT * FROM {table}")))  # noqa: S608  # our own names


def conclude(engine: Engine, upload: dict[str, Any], **columns: Any) -> None:
    """Give an upload's row a final status, as a worker would."""
    sets = ", ".join(f"{name} = :{name}" for name in columns)
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE uploads SET {sets}, finalized_at = now() WHERE client_session_uuid = :id"),  # noqa: S608
            columns | {"id": upload["client_session_uuid"]},
        )


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return response.status_code, body["type"]


def test_a_new_upload_is_recorded_enqueued_and_answered_with_its_address(
    web: httpx.Client, engine: Engine, enqueued_uploads: EnqueuedFor
) -> None:
    response = web.post(ENDPOINT, json=EXAMPLE_UPLOAD)

    assert response.status_code == 202
    assert response.json() == {
        "status": "received",
        "client_session_uuid": EXAMPLE_UPLOAD["client_session_uuid"],
    }
    (row,) = rows(engine, "uploads")
    assert (row.status, row.payload) == ("received", EXAMPLE_UPLOAD)
    until(lambda: enqueued_uploads() == [EXAMPLE_UPLOAD["client_session_uuid"]], "it is enqueued")
    standing = web.get(response.headers["Location"]).json()
    assert standing["client_session_uuid"] == EXAMPLE_UPLOAD["client_session_uuid"]
    assert (standing["status"], standing["tries"], standing["result"]) == ("received", 1, None)


def test_a_pending_upload_is_answered_again_but_enqueued_once(
    web: httpx.Client, engine: Engine, enqueued_uploads: EnqueuedFor
) -> None:
    first, other = an_upload(), an_upload()
    for each in (first, first, other):
        assert web.post(ENDPOINT, json=each).status_code == 202

    new = [each["client_session_uuid"] for each in (first, other)]
    # In the order of their arrival: the repeat would be here by then.
    until(lambda: new[1] in enqueued_uploads(), "both are enqueued")
    assert enqueued_uploads() == new
    assert len(rows(engine, "uploads")) == 2


def test_I8_the_same_content_written_differently_is_the_same_upload(
    web: httpx.Client, engine: Engine
) -> None:
    upload = an_upload()
    later = upload | {"sent_at": "2026-12-01T00:00:00Z"}
    elsewhere = upload | {"started_at": "2026-11-22T00:00:00.000Z"}
    spaced = json.dumps(dict(reversed(upload.items())), indent=3)

    assert web.post(ENDPOINT, json=upload).status_code == 202
    assert web.post(ENDPOINT, json=later).status_code == 202
    assert web.post(ENDPOINT, json=elsewhere).status_code == 202
    assert web.post(ENDPOINT, content=spaced, headers={"Content-Type": "application/json"}).status_code == 202
    assert rows(engine, "upload_conflicts") == []


def test_I8_other_content_under_the_same_id_is_409_and_kept_for_the_operator(
    web: httpx.Client, engine: Engine
) -> None:
    upload = an_upload()
    other = upload | {"finished_at": None}
    web.post(ENDPOINT, json=upload)

    response = web.post(ENDPOINT, json=other)

    assert problem(response) == (409, "/problems/conflicting-upload")
    assert [row.payload for row in rows(engine, "uploads")] == [upload]
    assert [row.payload for row in rows(engine, "upload_conflicts")] == [other]


def test_an_ingested_upload_is_answered_with_its_result(web: httpx.Client, engine: Engine) -> None:
    upload = an_upload()
    web.post(ENDPOINT, json=upload)
    conclude(engine, upload, status="ingested", result=json.dumps(RESULT))

    response = web.post(ENDPOINT, json=upload)

    assert response.status_code == 200
    assert response.json() == {
        "status": "already_ingested",
        "client_session_uuid": upload["client_session_uuid"],
        "result": RESULT,
    }
    standing = web.get(f"{ENDPOINT}/{upload['client_session_uuid']}").json()
    assert (standing["status"], standing["result"]) == ("ingested", RESULT)
    assert standing["finalized_at"] >= standing["received_at"]


def test_a_repeat_after_its_learner_was_deleted_is_already_ingested_without_a_result(
    web: httpx.Client, engine: Engine
) -> None:
    upload = an_upload()
    web.post(ENDPOINT, json=upload)
    conclude(engine, upload, status="ingested")  # the deletion leaves no result

    response = web.post(ENDPOINT, json=upload)

    assert response.json() == {
        "status": "already_ingested",
        "client_session_uuid": upload["client_session_uuid"],
        "result": None,
    }


def test_a_rejected_upload_is_422_with_its_reason_until_other_content_supersedes_it(
    web: httpx.Client, engine: Engine
) -> None:
    upload = an_upload()
    web.post(ENDPOINT, json=upload)
    conclude(engine, upload, status="rejected", reason="mixed_owners")

    response = web.post(ENDPOINT, json=upload)

    assert problem(response) == (422, "/problems/rejected-upload")
    assert response.json()["reason"] == "mixed_owners"
    assert web.get(f"{ENDPOINT}/{upload['client_session_uuid']}").json()["reason"] == "mixed_owners"
    assert web.post(ENDPOINT, json=upload | {"finished_at": None}).status_code == 202


def test_a_dead_upload_is_kept_and_need_not_be_sent_again(web: httpx.Client, engine: Engine) -> None:
    upload = an_upload()
    web.post(ENDPOINT, json=upload)
    conclude(engine, upload, status="dead")

    assert web.post(ENDPOINT, json=upload).status_code == 202
    assert web.get(f"{ENDPOINT}/{upload['client_session_uuid']}").json()["status"] == "dead"


@pytest.mark.parametrize(
    "address", [f"{ENDPOINT}/{NOBODYS}", f"{ENDPOINT}/no-uuid", "/nothing", "/problems/none"]
)
def test_what_is_not_there_is_404(web: httpx.Client, address: str) -> None:
    kind = "unknown-upload" if address.count("-") == 4 else "not-found"
    assert problem(web.get(address)) == (404, f"/problems/{kind}")
