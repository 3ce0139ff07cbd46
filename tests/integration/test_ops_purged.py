"""What is purged stands in no operator's way: nothing is left to replay, and nothing waits for him."""

import re

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from api.ops.replays import AT_ONCE
from shared.config import Settings
from tests.ops import PASSWORD, log_in, press
from tests.ops_world import bury
from tests.world import answer, load, standing, upload

AT = "2026-11-20T09:00:00Z"

BURY_PURGED = text("""
    INSERT INTO uploads (client_session_uuid, content_hash, received_at, next_try_at, status, finalized_at)
    SELECT gen_random_uuid(), 'v1:old', now() - interval '1 year', now(), 'dead', now()
    FROM generate_series(1, :count)
""")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ops_password": SecretStr(PASSWORD)})


def bury_purged(engine: Engine, count: int) -> None:
    """Leave old uploads as a purge leaves them."""
    with engine.begin() as connection:
        connection.execute(BURY_PURGED, {"count": count})


def shown(page: httpx.Response) -> str:
    """Return a page's words."""
    assert page.status_code == 200
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.text))


def test_all_that_can_be_replayed_is_however_much_is_purged(engine: Engine, web: httpx.Client) -> None:
    load(engine)
    bury_purged(engine, AT_ONCE + 1)
    sent = upload(answer("q110", AT))
    bury(engine, sent, "KeyError at a")
    log_in(web)
    asked = shown(web.get("/ops/uploads/replay?status=dead"))
    assert "1 rejected or dead uploads match status dead" in asked
    assert f"{AT_ONCE + 1} more are purged" in asked
    assert press(web, "/ops/uploads/replay", status="dead").status_code == 303
    assert standing(engine, sent).status == "received"
