"""All that the processes of a host count is on one page, whatever restarts; nothing private is (I11)."""

import random
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import Engine

from cli.client import PATH, Sender
from cli.local.servers import Servers
from shared.config import Settings
from shared.health import Problem
from tests import factories
from tests.faults import frozen
from tests.processes import PATIENCE_S, Processes, free_port, until

TOKEN = {"Authorization": "Bearer metrics-token-of-tests"}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(
        update={
            "prometheus_multiproc_dir": str(tmp_path / "metrics"),
            "metrics_token": SecretStr("old-metrics-token,metrics-token-of-tests"),
        }
    )


def parsed(page: httpx.Response) -> dict[str, float]:
    assert page.status_code == 200
    families = text_string_to_metric_families(page.text)
    return {
        " ".join([sample.name.removeprefix("study_ingest_"), *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def read(viewer: Sender) -> dict[str, float]:
    return parsed(viewer.http.get("/metrics", headers=TOKEN))


def seen(look: Callable[[], dict[str, float]], name: str, value: float) -> None:
    until(lambda: look().get(name) == value, f"{name} is {value}")


def test_what_every_process_counts_is_served_also_after_a_restart(
    engine: Engine, house: Processes, viewer: Sender
) -> None:
    factories.load_many(engine)
    rng = random.Random(1)
    first, second = (factories.random_upload(rng, 1, attempts=5) for _ in range(2))
    first["attempts"][0] |= {"selected": factories.CHOICES}
    first["attempts"][1] |= {"pub_id": "q-nobody"}
    mixed = factories.mixed(rng)
    house.start("worker")
    for upload in (first, first, mixed):
        viewer.http.post(PATH, json=upload)
    seen(lambda: read(viewer), "uploads_ended_total rejected", 1)
    seen(lambda: read(viewer), "uploads_ended_total ingested", 1)
    house.kill("worker")
    # As a process leaves it that is killed at once.
    Path(house.settings.prometheus_multiproc_dir, "counter_1.db").touch()
    for name in ("worker", "sweeper"):
        house.start(name)
    viewer.http.post(PATH, json=second)
    seen(lambda: read(viewer), "uploads_ended_total ingested", 2)
    until(lambda: not any(read(viewer)[f"problem {each}"] for each in Problem), "a sweeper is seen")
    found = read(viewer)
    assert found["sweeper_heartbeat_age_seconds"] < 60
    assert found["deliveries_total new"] == 3
    assert sum(value for name, value in found.items() if name.startswith("deliveries_total")) == 4
    assert found["attempts_total invalid_choice"] == 1
    assert found["attempts_total unknown_question"] == 1
    assert sum(value for name, value in found.items() if name.startswith("answers_total")) == 8
    assert found["attempts_total bad_clock"] == 0, "what has not happened yet is shown too"
    assert found["replay_seconds_count"] == 3
    assert found["replay_statements_count"] in {2, 3}, "the first two may have come in one message"
    assert 3 * 2 < found["replay_statements_sum"] < 3 * 12
    assert found[f"requests_total POST {PATH} 202"] == 4 - found.get(f"requests_total POST {PATH} 200", 0)
    assert found["uploads rejected"] == 1
    assert found["uploads received"] == found["oldest_received_age_seconds"] == found["spool_length"] == 0
    private = [first["client_session_uuid"], "q-1-", "metrics-token-of-tests", "viewer-token-of-tests"]
    page = viewer.http.get("/metrics", headers=TOKEN).text
    assert [each for each in private if each in page] == []


def test_without_a_token_the_page_is_401(viewer: Sender) -> None:
    assert viewer.http.get("/metrics").status_code == 401  # the sender's is a viewer's token


def test_I11_an_unknown_path_makes_no_label(viewer: Sender) -> None:
    for path in ("/secret-path", "/metrics/secret-path", f"{PATH}/secret-path"):
        viewer.http.get(path)
    viewer.http.request("SECRET", PATH)
    page = viewer.http.get("/metrics", headers=TOKEN).text
    assert "secret" not in page.lower()
    assert 'route="none"' in page


def test_a_store_that_is_away_is_named_and_the_rest_is_served(
    viewer: Sender, servers: Servers, engine: Engine
) -> None:
    factories.load_many(engine)
    assert read(viewer)["store_answers postgres"] == 1
    with frozen(servers.postgres.pid):
        found = read(viewer)
        assert found["breaker_open uploads"] == 0, "to scrape trips no breaker"
        # One post opens the breaker; more are needed only if the process itself was slow.
        rng, posts = random.Random(2), 0
        while not read(viewer)["breaker_open uploads"]:
            assert viewer.http.post(PATH, json=factories.random_upload(rng, 1)).status_code == 202
            posts += 1
        later = read(viewer)
    assert (found["store_answers postgres"], found["store_answers redis"]) == (0, 1)
    assert "uploads received" not in found
    assert found["queue_length"] == 0
    assert (later["breaker_open uploads"], later["spool_length"]) == (1, posts)
    seen(lambda: read(viewer), "store_answers postgres", 1)


def give_up(port: int, said: bytes) -> None:
    """Say something, and reset the connection."""
    with socket.create_connection(("127.0.0.1", port)) as scraper:
        scraper.sendall(said)
        scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_host_without_a_web_process_shows_its_metrics_too(house: Processes) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from cli.main import main; main()", "metrics", "--port", str(port)]
    house.start("metrics", " ".join([command[0], "-c", f"'{command[2]}'", *command[3:]]))
    url = f"http://127.0.0.1:{port}/metrics"

    def is_up() -> bool:
        try:
            return httpx.get(url).is_success
        except httpx.TransportError:
            return False

    until(is_up, "the page is served")
    with socket.create_connection(("127.0.0.1", port)):  # who says nothing keeps nobody waiting
        found = parsed(httpx.get(url, timeout=PATIENCE_S))
    assert found["store_answers postgres"] == found["store_answers broker"] == 1
    for said in (b"", b"GET /met", b"GET /metrics HTTP/1.0\r\n\r\n"):
        give_up(port, said)
    assert httpx.get(url, timeout=PATIENCE_S).is_success
