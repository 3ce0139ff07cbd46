"""How things stand is counted."""

import json

from click.testing import CliRunner
from sqlalchemy import Engine

from cli.main import main
from tests.world import answer, deliver, ingest, load, upload

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
    assert counted["last_hour"] == {"received": 0, "ingested": 2, "rejected": 1, "dead": 0}
    assert counted["last_day"]["received"] == 4
    assert sum(counted["followups"].values()) > 0
