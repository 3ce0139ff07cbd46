"""The processes of a whole installation, for one test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.client import Sender
from shared.config import Settings
from tests.processes import Processes, processes


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
