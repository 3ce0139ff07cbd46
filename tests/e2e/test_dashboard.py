"""Every panel of the dashboard has something to show, asked of a Prometheus that scrapes a running system."""

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import Engine

from cli.client import PATH
from shared.config import Settings
from tests import factories
from tests.processes import PATIENCE_S, ROOT, Processes, free_port, processes, until
from tests.receiver import Receiver, status
from tests.webhooks import configured

TOKEN = "metrics-token-of-tests"
VIEWER = {"Authorization": "Bearer viewer-token-of-tests"}
PANELS = json.loads((ROOT / "deploy/grafana/study-ingest.json").read_text())["panels"]
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: study-ingest
    authorization: {{credentials: {token}}}
    static_configs: [{{targets: ["{target}"]}}]
"""

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed")


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """Run a Prometheus that scrapes a web process; yield a client of its API."""
    rules = ROOT / "deploy/prometheus/alerts.yml"
    (folder / "prometheus.yml").write_text(CONFIG.format(rules=rules, token=TOKEN, target=target))
    address = f"127.0.0.1:{free_port()}"
    options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data"}
    command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log, stdout=log) as running,
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=PATIENCE_S) as client,
    ):
        try:
            yield client
        finally:
            running.kill()


def ask(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    """Return the series of a query; raise where Prometheus refuses it, none where it is not up yet."""
    try:
        answer = client.get("/api/v1/query", params={"query": query})
    except httpx.TransportError:
        return []
    if answer.status_code == 503:
        return []
    assert answer.json()["status"] == "success", (query, answer.text)
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def health(client: httpx.Client) -> set[str]:
    return {rule["health"] for rule in client.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]}


def test_every_panel_shows_something(
    engine: Engine, settings: Settings, house: Processes, receiver: Receiver, tmp_path: Path
) -> None:
    factories.load_many(engine)
    receiver.then(*(status(500, b"") for _ in range(3)))
    metrics = {"prometheus_multiproc_dir": str(tmp_path / "metrics"), "metrics_token": TOKEN}
    changed = configured(settings, webhook_url=receiver.url, **metrics)
    rng = random.Random(7)
    with processes(changed, house.logs) as running:
        url = running.serve()
        for name in ("worker", "sweeper"):
            running.start(name)
        with (
            prometheus(tmp_path, urlsplit(url).netloc) as client,
            httpx.Client(base_url=url, headers=VIEWER, timeout=PATIENCE_S) as viewer,
        ):
            queries = [target["expr"] for panel in PANELS for target in panel["targets"]]

            def empty() -> list[str]:
                # More arrives all the time: a rate needs two samples that it lies between.
                viewer.post(PATH, json=factories.random_upload(rng, 1))
                viewer.post(PATH, json={"client_session_uuid": "none"})
                found = {query: ask(client, query) for query in queries}
                return [
                    query
                    for query, series in found.items()
                    if not any(each["value"][1] != "NaN" for each in series)
                ]

            until(lambda: not empty(), "every panel shows something")
            until(lambda: health(client) == {"ok"}, "the rules are evaluated")
