"""No process logs a statement or what a library says of one, whatever fails (I11)."""

import re

import httpx
from pydantic import SecretStr
from sqlalchemy import Engine, text

from shared.config import Settings
from tests.clients import PASSWORD, STUDY_TOKEN, log_in
from tests.factories import answer, load, upload
from tests.processes import Processes, processes, until

AT = "2026-11-20T09:00:00Z"
SQL = re.compile(r"SELECT |INSERT INTO|UPDATE \w+ SET|LINE 1|\[SQL|does not exist|Traceback")
BROKEN = ["ALTER TABLE uploads RENAME COLUMN tries TO attempted", "ALTER TABLE users RENAME TO people"]
VIEWER = {"Authorization": "Bearer viewer-token-of-tests"}


def test_I11_no_process_logs_a_statement(engine: Engine, settings: Settings, house: Processes) -> None:
    load(engine)
    changed = settings.model_copy(update={"ops_password": SecretStr(PASSWORD), "retry_base": 0.1})
    with processes(changed, house.logs, first_try_after=0.1, sweep_every=0.2) as running:
        url = running.serve()
        with httpx.Client(base_url=url, timeout=30) as web:
            for sent in (upload(answer("q110", AT)), upload(answer("q210", AT))):
                assert web.post("/ingest/study/attempts", json=sent, headers=VIEWER).status_code == 202
            with engine.begin() as connection:
                for statement in BROKEN:
                    connection.execute(text(statement))
            for name in ("worker", "sweeper"):
                running.start(name)
            uuid = sent["client_session_uuid"]
            web.post("/ingest/study/attempts", json=upload(answer("q110", AT)), headers=VIEWER)
            web.get(f"/ingest/study/attempts/{uuid}", headers=VIEWER)
            web.get("/study/users/1/due-reviews", headers=STUDY_TOKEN)
            log_in(web)
            for page in ("/ops/", "/ops/uploads", f"/ops/uploads/{uuid}", "/ops/learners"):
                web.get(page)
        until(lambda: "Task" in running.output("worker"), "Celery logs the failure, too")
        until(lambda: "sweeper.failing" in running.output("sweeper"), "the sweeper fails")
        logged = {name: running.output(name) for name in ("web", "worker", "sweeper")}
    for name, output in logged.items():
        assert "UndefinedColumn" in output or "ProgrammingError" in output, f"{name} has met the fault"
        assert SQL.findall(output) == [], name
