"""An upload that somebody holds: it may have to wait, and nobody else."""

from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import Engine, text

from shared.payload import EXAMPLE_UPLOAD
from shared.uploads import lock

ENDPOINT = "/ingest/study/attempts"
REJECT = text("""
    UPDATE uploads SET status = 'rejected', reason = 'unknown_questions', finalized_at = now()
""")


def an_upload(**changes: Any) -> dict[str, Any]:
    return EXAMPLE_UPLOAD | {"client_session_uuid": str(uuid4())} | changes


def test_a_locked_upload_delays_no_other(web: httpx.Client, engine: Engine) -> None:
    locked = an_upload()
    web.post(ENDPOINT, json=locked)
    with engine.begin() as connection:
        connection.execute(REJECT)
    with engine.begin() as holder:
        lock(holder, [UUID(locked["client_session_uuid"])])
        other_content = web.post(ENDPOINT, json=locked | {"finished_at": "2026-11-22T10:00:00Z"})
        other = an_upload()
        responses = [web.post(ENDPOINT, json=other), web.get(f"{ENDPOINT}/{other['client_session_uuid']}")]
    assert other_content.status_code == 202  # kept in the spool
    assert [each.status_code for each in responses] == [202, 200]
    assert responses[1].json()["status"] == "received"
