"""Where an upload is kept when Postgres is away, and what the sender is answered."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest
from flask import Flask
from sqlalchemy import Engine, text

from api.app import create_app
from cli.client import PATH
from cli.local.servers import Servers
from shared import spool
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


UNSTORABLE = text("""
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE 'secret-answer' USING ERRCODE = '22P02'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON uploads FOR EACH ROW
    WHEN (NEW.payload ? 'unstorable') EXECUTE FUNCTION refuse();
""")


def test_I12_what_postgres_cannot_store_is_refused_alone(
    serve: Serve, settings: Settings, engine: Engine, servers: Servers
) -> None:
    with engine.begin() as connection:
        connection.execute(UNSTORABLE)
    web = serve(create_app(settings), settings)
    sent = [EXAMPLE_UPLOAD | {"client_session_uuid": str(uuid4())} for _ in range(12)]
    bad = [each | {"unstorable": 1} for each in sent[::4]]
    with (
        ThreadPoolExecutor(12) as senders,
        spool.connect(servers.redis_url) as redis,
    ):
        answers = list(senders.map(lambda each: web.post(PATH, json=each), [*bad, *sent[1::4], *sent[2::4]]))
        assert spool.spooled(redis) == 0
    assert [each.status_code for each in answers] == [422] * 3 + [202] * 6
    assert answers[0].json()["errors"] == [
        {"pointer": "", "detail": "the upload holds a value that cannot be stored"}
    ]
    assert web.get("/readyz").status_code == 200
