"""The processes of a whole installation, for one test."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from cli.client import Sender
from shared.config import Settings
from tests.processes import Processes, processes, until

WELL = {"appendonly": "yes", "maxmemory-policy": "noeviction", "maxmemory": "0"}


@pytest.fixture
def redis(broker_url: str) -> Iterator[Redis]:
    """Set Redis up for the length of a test as `doctor` wants it."""
    with Redis(unix_socket_path=urlsplit(broker_url).path, db=0) as redis:
        before = {name: redis.config_get(name)[name] for name in WELL}
        for name, value in WELL.items():
            redis.config_set(name, value)
        until(lambda: not redis.info("persistence")["aof_rewrite_in_progress"], "the file is written")
        yield redis
        for name, value in before.items():
            redis.config_set(name, value)


@pytest.fixture
def house(settings: Settings, tmp_path: Path) -> Iterator[Processes]:
    """Give a test processes to start; those that still run at its end are killed."""
    with processes(settings, tmp_path) as running:
        yield running


@pytest.fixture
def viewer(house: Processes) -> Iterator[Sender]:
    """Send to a web process of this test's own."""
    with Sender(house.serve(), "viewer-token-of-tests") as sender:
        yield sender
