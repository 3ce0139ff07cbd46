"""Flower by the Procfile alone: open to operators only, showing tasks by uuid, changing nothing."""

import json
import signal

import httpx
import psutil
from sqlalchemy import Engine, text

from cli.client import PATH
from tests import factories
from tests.flower import TABLE, ask, everything_about, flower
from tests.marked_requests import VIEWER, marked
from tests.marks import MARK, is_marked
from tests.processes import PATIENCE_S, Processes, until

OPERATOR = ("operator", "an operator's password")
UPLOAD = marked(7)
UUID = UPLOAD["client_session_uuid"]
PAGES = ["/", "/workers", "/tasks", TABLE, "/broker", f"/task/{UUID}"]
API = ["/api/workers", "/api/tasks", "/api/task/types", "/api/queues/length", f"/api/task/info/{UUID}"]
ORDERS = [
    *(f"/api/worker/{order}/WORKER" for order in ("shutdown", "pool/restart", "pool/grow", "pool/shrink")),
    *(f"/api/worker/{order}/WORKER" for order in ("queue/add-consumer", "queue/cancel-consumer")),
    *(
        "/api/worker/pool/autoscale/WORKER",
        "/api/task/timeout/replay_uploads",
        "/api/task/rate-limit/replay_uploads",
    ),
    *(f"/api/task/{order}/replay_uploads" for order in ("apply", "async-apply", "send-task")),
    *(f"/api/task/{order}/{UUID}" for order in ("revoke", "abort")),
]


def send(house: Processes, engine: Engine) -> None:
    """Send an upload that is marked all over, and wait for its end."""
    factories.load_many(engine)
    with httpx.Client(base_url=house.serve(), timeout=PATIENCE_S) as web:
        token = {"Authorization": "Bearer viewer-token-of-tests"}
        assert web.post(PATH, json=UPLOAD, headers=VIEWER | token).status_code == 202
    query = text("SELECT status <> 'received' FROM uploads")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        until(lambda: connection.scalar(query), "the upload is final")


def knows(shown: httpx.Client) -> dict[str, str]:
    """Wait until Flower knows the task's end; return what it tells."""
    until(lambda: shown.get(f"/api/task/info/{UUID}").is_success, "Flower knows the task")
    until(lambda: "SUCCESS" in ask(shown, f"/api/task/info/{UUID}"), "Flower knows its end")
    task: dict[str, str] = json.loads(ask(shown, f"/api/task/info/{UUID}"))
    return task


def found(shown: httpx.Client, search: str) -> list[dict[str, str]]:
    """Search for tasks as Flower's page does."""
    tasks: list[dict[str, str]] = json.loads(ask(shown, f"{TABLE}&search[value]={search}"))["data"]
    return tasks


def test_flower_shows_a_task_to_operators_only_and_orders_nothing(engine: Engine, house: Processes) -> None:
    house.start("worker")
    with flower(house, OPERATOR) as shown:
        until(lambda: "worker@" in ask(shown, "/api/workers?refresh=1"), "Flower knows the worker")
        send(house, engine)
        task = knows(shown)
        assert (task["name"], task["uuid"], task["args"]) == ("replay_uploads", UUID, UUID)
        assert [each["uuid"] for each in found(shown, f"args:{UUID}")] == [UUID]
        said = everything_about(shown, UUID)
        assert all(UUID in said[page] for page in (f"/task/{UUID}", TABLE, "/api/tasks"))
        assert [page for page, text in said.items() if is_marked(text) or MARK in text] == []
        (worker,) = json.loads(said["/api/workers"])
        for order in ORDERS:
            assert (order, shown.post(order.replace("WORKER", worker)).status_code) == (order, 403)
        assert psutil.pid_exists(house.running["worker"].pid)
        for nobody in (None, httpx.BasicAuth("operator", "guess"), httpx.BasicAuth("", "")):
            with httpx.Client(base_url=shown.base_url, auth=nobody, timeout=PATIENCE_S) as stranger:
                for page in [*PAGES, *API]:
                    assert (page, stranger.get(page).status_code) == (page, 401)
                for order in ORDERS:
                    assert (order, stranger.post(order).status_code) == (order, 401)


def test_flower_remembers_over_a_restart(engine: Engine, house: Processes) -> None:
    house.start("worker")
    with flower(house, OPERATOR) as shown:
        until(lambda: "worker@" in ask(shown, "/api/workers?refresh=1"), "Flower knows the worker")
        send(house, engine)
        before = knows(shown)
    house.kill("worker")
    ending = house.running.pop("flower")
    ending.send_signal(signal.SIGTERM)
    assert ending.wait(PATIENCE_S) == 0
    assert {path.stat().st_mode & 0o077 for path in house.logs.glob("flower.db*")} == {0}
    with flower(house, OPERATOR) as shown:
        assert json.loads(ask(shown, f"/api/task/info/{UUID}")) == before


def test_flower_refuses_to_start_open_to_everybody(house: Processes) -> None:
    for logins in ("", ","):
        house.start("flower", FLOWER_BASIC_AUTH=logins)
        assert house.running.pop("flower").wait(PATIENCE_S) == 1
    assert house.output("flower").count("FLOWER_BASIC_AUTH: must be set") == 2


def test_flower_listens_on_the_loopback_address(house: Processes) -> None:
    with flower(house, OPERATOR):
        listening = psutil.Process(house.running["flower"].pid).net_connections("tcp")
        assert {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
