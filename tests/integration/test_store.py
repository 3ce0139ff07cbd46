"""Where an upload is kept when Postgres is away, and what the sender is answered."""

from collections.abc import Callable

import httpx
import pytest
from flask import Flask

from api.app import create_app
from cli.client import PATH
from shared.config import Settings
from shared.payload import EXAMPLE_UPLOAD

Serve = Callable[[Flask, Settings], httpx.Client]
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.mark.parametrize(("spool", "status"), [(True, 202), (False, 503)])
def test_without_postgres_an_upload_is_spooled_or_refused(
    serve: Serve, settings: Settings, *, spool: bool, status: int
) -> None:
    away = settings.model_copy(update={"database_url": NOWHERE} | ({} if spool else {"redis_url": ""}))
    web = serve(create_app(away), away)
    for _ in range(3):
        assert web.post(PATH, json=EXAMPLE_UPLOAD).status_code == status
    assert web.get("/readyz").status_code == (200 if spool else 503)
