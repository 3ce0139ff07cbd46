"""No payload, token or answer is in a log, a broker message, a metric, an error body or Flower (I11).

Everything private bears a mark; then the mark is looked for wherever something is said.
"""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine, make_url, text

from cli.client import PATH
from cli.local.servers import Servers
from shared.broker import REPLAY_QUEUE
from shared.catalog_admin import load_catalog
from shared.catalog_form import CatalogFile
from shared.config import Settings
from tests import factories
from tests.faults import frozen, refuse_answers
from tests.flower import ask, everything_about, flower
from tests.marked_requests import (
    BROKEN,
    FRONT,
    GOOD,
    LIVE,
    NOBODYS,
    SPOOLED,
    VIEWER,
    answer_live,
    ask_wrongly,
    speak_no_http,
)
from tests.marks import MARK, is_marked
from tests.processes import Processes, free_port, until
from tests.receiver import Receiver, status

OPERATOR = ("operator", f"{MARK}-flower")
REFUSALS = {400, 401, 404, 405, 409, 415, 422, 503}


@pytest.fixture
def broker(broker_url: str) -> Iterator[Redis]:
    """Let Redis listen on a port too, and know a user with a marked password."""
    with Redis(unix_socket_path=urlsplit(broker_url).path, db=0, decode_responses=True) as redis:
        redis.config_set("port", free_port())
        all_of_it = {"keys": ["*"], "channels": ["*"], "commands": ["+@all"]}
        redis.acl_setuser("user", enabled=True, passwords=[f"+{MARK}"], **all_of_it)
        yield redis
        redis.acl_deluser("user")
        redis.config_set("port", 0)


@pytest.fixture
def settings(settings: Settings, broker: Redis, receiver: Receiver) -> Settings:
    """Mark every secret; Postgres trusts everybody who reaches its socket, whatever their password."""
    database = make_url(settings.database_url).set(password=MARK)
    redis = f"redis://user:{MARK}@127.0.0.1:{broker.config_get('port')['port']}"
    return settings.model_copy(
        update={
            "database_url": database.render_as_string(hide_password=False),
            "broker_url": f"{redis}/0",
            "redis_url": f"{redis}/1",
            "viewer_sync_token": SecretStr(f"{MARK}-viewer"),
            "study_api_token": SecretStr(f"{MARK}-front-end"),
            "webhook_url": f"{receiver.url}&{MARK}",
            "webhook_secrets": SecretStr(f"whsec_{b64encode(MARK.encode() * 3).decode()}"),
            "retry_base": 0.1,
            "max_tries": 2,
        }
    )


def load(engine: Engine) -> None:
    """Load questions with marked ids, of which the first makes the database fail and quote a value."""
    catalog = factories.many_learners().model_dump_json().replace('"q-', f'"{MARK}-')
    with engine.begin() as connection:
        load_catalog(connection, CatalogFile.model_validate_json(catalog))
    quoting = f"'{MARK} %', NEW.selected USING DETAIL = '{MARK}', HINT = '{MARK}'"
    refuse_answers(engine, quoting)


@contextmanager
def overheard(redis: Redis) -> Iterator[list[dict[str, Any]]]:
    """Collect every command that Redis is given."""
    commands: list[dict[str, Any]] = []

    def listen() -> None:
        while "no more" not in (command := monitor.next_command())["command"]:
            commands.append(command)

    with redis.monitor() as monitor:
        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield commands
        finally:
            redis.echo("no more")
            thread.join()


def kept(redis: Redis) -> dict[str, str]:
    """Read what every key holds."""
    readers = {
        "string": redis.get,
        "list": lambda key: redis.lrange(key, 0, -1),
        "set": redis.smembers,
        "hash": redis.hgetall,
        "zset": lambda key: redis.zrange(key, 0, -1),
        "none": lambda _: "gone meanwhile",
    }
    return {key: f"{key} {readers[redis.type(key)](key)}" for key in redis.scan_iter()}


def standings(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT client_session_uuid::text, status FROM uploads"))
        return {row.client_session_uuid: row.status for row in rows}


class Witnesses(dict[str, str]):
    """What was said, by who said it."""

    def hear(self, response: httpx.Response) -> None:
        """Keep what the web process says where it refuses."""
        response.read()
        if response.is_error:
            self[f"{response.status_code} {len(self)}"] = f"{response.headers} {response.text}"


def look_at(shown: httpx.Client, failed: str) -> dict[str, str]:
    """Read every page of Flower, and its API, once it knows of all that happened."""
    until(lambda: "task-failed" in ask(shown, "/metrics"), "Flower has seen a task fail")
    until(lambda: len(json.loads(ask(shown, "/api/workers?refresh=1"))) == 1, "Flower knows the worker")
    return everything_about(shown, failed)


def deliver(web: httpx.Client, house: Processes, broker: Redis, postgres: int) -> dict[str, str]:
    """Send good and bad uploads, one of them through the spool; return what Redis kept on the way."""
    for upload in (GOOD, BROKEN, NOBODYS):
        messages = broker.llen(REPLAY_QUEUE)
        web.post(PATH, json=upload, headers=VIEWER)
        until(partial(_has_more, broker, messages), "it has a message, and so a task, of its own")
    web.post(PATH, json=GOOD | {"started_at": None, "finished_at": None}, headers=VIEWER)
    on_the_way = kept(broker)
    for name in ("worker", "sweeper"):
        house.start(name)
    with frozen(postgres):
        assert web.post(PATH, json=SPOOLED, headers=VIEWER).status_code == 202
        assert web.get(f"{PATH}/{GOOD['client_session_uuid']}", headers=VIEWER).status_code == 503
    return on_the_way


def _has_more(broker: Redis, messages: int) -> bool:
    return broker.llen(REPLAY_QUEUE) > messages


ENDS = {"ingested": [GOOD, SPOOLED], "dead": [BROKEN], "rejected": [NOBODYS]}


def test_I11_a_mark_on_everything_private_shows_up_nowhere(
    engine: Engine, house: Processes, broker: Redis, servers: Servers, receiver: Receiver
) -> None:
    load(engine)
    receiver.then(status(500, MARK.encode()), status(200, MARK.encode()))
    witnesses, url = Witnesses(), house.serve()
    web = httpx.Client(base_url=url, event_hooks={"response": [witnesses.hear]}, timeout=30)
    with web, flower(house, OPERATOR) as shown, overheard(broker) as commands:
        witnesses |= deliver(web, house, broker, servers.postgres.pid)
        ends = {each["client_session_uuid"]: end for end, uploads in ENDS.items() for each in uploads}
        until(lambda: standings(engine) == ends, "every upload is final")
        until(lambda: len(receiver.requests) > 2, "webhooks are delivered")
        until(
            lambda: web.post(PATH, json=NOBODYS, headers=VIEWER).status_code == 422,
            "the store is asked again",
        )
        until(lambda: web.get(LIVE, headers=FRONT).status_code == 200, "by the live side, too")
        ask_wrongly(web)
        answer_live(web)
        assert {int(name[:3]) for name in witnesses if name[:3].isdigit()} == REFUSALS
        witnesses["no HTTP"] = speak_no_http(url)
        witnesses |= look_at(shown, BROKEN["client_session_uuid"])
        witnesses |= kept(broker)
    witnesses |= {f"log of {name}": house.output(name) for name in house.running}
    witnesses |= {f"command {n}": each["command"] for n, each in enumerate(commands) if each["db"] == 0}
    assert [name for name, said in witnesses.items() if is_marked(said)] == []
    # The ears are good: they hear of what happened, and of the mark where it must be.
    assert "upload.replay_failed" in witnesses["log of worker"]
    assert "request.refused" in witnesses["log of web"]
    assert any(is_marked(each["command"]) for each in commands if each["db"] == 1)
