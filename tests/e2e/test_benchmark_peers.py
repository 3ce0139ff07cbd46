"""The benchmarks' peers take uploads: beside a peer that does not run, a ratio says nothing."""

import random
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from benchmarks.accept import BARE
from benchmarks.designs import OTHERS
from cli.client import PATH
from shared.config import Settings
from tests import factories
from tests.processes import free_port, processes, until

COMMANDS = {"bare": BARE} | {design.name: design.web for design in OTHERS if design.needs == "flask"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_peer_takes_an_upload(settings: Settings, engine: Engine, tmp_path: Path, command: str) -> None:
    factories.load_many(engine)
    upload = factories.random_upload(random.Random(1), 1)
    token = {"Authorization": f"Bearer {settings.viewer_tokens[0]}"}
    port = free_port()

    def taken() -> bool:
        try:
            url = f"http://127.0.0.1:{port}{PATH}"
            return httpx.post(url, json=upload, headers=token, trust_env=False).status_code == 202
        except httpx.TransportError:
            return False

    with processes(settings, tmp_path) as running:
        running.start("peer", command, PORT=str(port))
        until(taken, "the peer takes an upload")
