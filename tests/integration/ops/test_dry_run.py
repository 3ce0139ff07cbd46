"""What the page answers where there is nothing to try, or not right now."""

from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from shared.ops.actions import void_upload
from tests.clients import log_in
from tests.factories import answer, deliver, ingest, load, upload, uuid_of

AT = "2026-11-20T09:00:00Z"


@pytest.fixture
def sent(engine: Engine, web: httpx.Client) -> dict[str, Any]:
    load(engine)
    log_in(web)
    return upload(answer("q110", AT))


def message(web: httpx.Client, sent: dict[str, Any]) -> str:
    """Ask for a replay; return what its dry run came to."""
    page = web.get(f"/ops/uploads/{sent['client_session_uuid']}/replay")
    assert page.status_code == 200
    return unescape(page.text.partition('role="status" class="message">')[2].partition("</p>")[0])


@pytest.mark.parametrize("table", ["uploads", "users"])
def test_a_locked_upload_or_learner_is_reported_as_busy(
    engine: Engine, web: httpx.Client, sent: dict[str, Any], table: str
) -> None:
    deliver(engine, sent)
    with engine.begin() as worker:
        worker.execute(text(f"SELECT FROM {table} FOR NO KEY UPDATE"))
        busy = message(web, sent)
    assert busy.endswith("or its learner: try again.")
    assert "55P03" not in busy
    assert "the upload would be" in message(web, sent)


def test_an_ingested_upload_is_reported_as_ingested(
    engine: Engine, web: httpx.Client, sent: dict[str, Any]
) -> None:
    ingest(engine, sent)
    assert message(web, sent).endswith("the upload is ingested already.")
    with engine.begin() as connection:
        void_upload(connection, uuid_of(sent), reason="lent")
    assert message(web, sent).endswith("the upload is ingested already (void).")
