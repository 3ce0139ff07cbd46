"""How things stand is counted."""

import json
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.main import main
from shared.broker import enqueue, make_celery
from shared.config import Settings
from shared.spool import connect, push
from tests.factories import answer, deliver, delivery, ingest, load, upload

AT = "2026-11-20T09:00:00Z"


def test_what_waits_and_what_ended_is_counted(engine: Engine, database_url: str) -> None:
    load(engine)
    for pub_id in ("q110", "q120", "q999"):
        ingest(engine, upload(answer(pub_id, AT)))
    deliver(engine, upload(answer("q210", AT)))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE uploads SET received_at = now() - interval '2 hours'")
    result = CliRunner().invoke(main, ["stats", "--json"], env={"DATABASE_URL": database_url})
    assert result.exit_code == 0, result.output
    counted = json.loads(result.stdout)
    assert (counted["now"]["waiting"], counted["now"]["rejected"]) == (1, 1)
    assert (counted["now"]["messages"], counted["now"]["spooled"]) == (None, None)
    assert "BROKER_URL is not set" in result.stderr
    assert counted["last_hour"] == {"received": 0, "ingested": 2, "rejected": 1, "dead": 0}
    assert counted["last_day"]["received"] == 4
    assert sum(counted["webhooks"].values()) > 0


def stats(settings: Settings, *words: str, **environment: str) -> Result:
    stores = {name: getattr(settings, name.lower()) for name in ("DATABASE_URL", "BROKER_URL", "REDIS_URL")}
    result = CliRunner().invoke(main, ["stats", *words], env=stores | environment)
    assert result.exit_code == 0, result.output
    return result


def test_messages_and_the_spool_are_counted(settings: Settings) -> None:
    app = make_celery(settings)
    with app.producer_pool.acquire() as producer:
        for _ in range(2):
            enqueue(producer, app, [uuid4()])
    with connect(settings.redis_url) as redis:
        push(redis, delivery(upload(answer("q110", AT))))
        now = json.loads(stats(settings, "--json").stdout)["now"]
        redis.flushall()
    assert (now["messages"], now["spooled"]) == (2, 1)
    assert json.loads(stats(settings, "--json", REDIS_URL="").stdout)["now"]["spooled"] is None


@pytest.mark.parametrize("broker", ["redis+socket:///nowhere?virtual_host=0", "amqp://127.0.0.1:9"])
def test_stores_that_are_away_are_named_and_the_rest_is_counted(settings: Settings, broker: str) -> None:
    result = stats(settings, BROKER_URL=broker, REDIS_URL="redis://127.0.0.1:9")
    assert "messages are not counted: the broker does not answer" in result.stderr
    assert "the spool is not counted: Redis does not answer" in result.stderr
    assert "waiting" in result.stdout
