"""Start Flower for a test, and read its pages as an operator."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.processes import Processes, free_port, until

# As Flower's own page requests the table.
TABLE = "/tasks/datatable?draw=1&start=0&length=500&order[0][column]=0&columns[0][data]=name"


@contextmanager
def flower(house: Processes, operator: tuple[str, str]) -> Iterator[httpx.Client]:
    """Start Flower, and yield an operator's client; Flower runs until `house` kills its processes."""
    port = str(free_port())
    remembered = str(house.logs / "flower.db")
    house.start("flower", FLOWER_PORT=port, FLOWER_BASIC_AUTH=":".join(operator), FLOWER_DB=remembered)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=operator, timeout=30) as client:
        until(lambda: answers(client), "Flower answers")
        yield client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthcheck").is_success
    except httpx.TransportError:
        return False


def ask(flower: httpx.Client, page: str) -> str:
    return flower.get(page).raise_for_status().text


def everything_about(flower: httpx.Client, uuid: str) -> dict[str, str]:
    """Read all pages and API answers of Flower, also the pages of one task and of every worker."""
    pages = ["/", "/tasks", TABLE, f"/task/{uuid}", "/broker", "/metrics", "/healthcheck"]
    pages += ["/api/workers", "/api/tasks", f"/api/task/info/{uuid}", "/api/task/types"]
    pages += [f"/worker/{name}" for name in json.loads(ask(flower, "/api/workers"))] + ["/api/queues/length"]
    return {page: ask(flower, page) for page in pages}
