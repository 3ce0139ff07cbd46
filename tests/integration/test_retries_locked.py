"""An upload that somebody holds: it may have to wait, and nobody else."""

from uuid import UUID

import httpx
from sqlalchemy import Engine, text

from shared.uploads import lock
from tests.factories import an_upload

ENDPOINT = "/ingest/study/attempts"
REJECT = text("""
    UPDATE uploads SET status = 'rejected', reason = 'unknown_questions', finalized_at = now()
""")


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
