"""Whatever the API document allows or forbids is answered as it says, by the real server.

`pytest tests/e2e/test_fuzz.py --hypothesis-profile=long` tries many thousands of requests.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from cli.client import Answer, Sender
from shared.config import Settings
from tests import factories
from tests.processes import ROOT, Processes

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
TOKENS = {
    "VIEWER_SYNC_TOKEN": "viewer-token-of-tests",
    "STUDY_API_TOKEN": "study-token-of-tests",
    "CATALOG_TOKEN": "catalog-token-of-tests",
}
HOOKS = {"SCHEMATHESIS_HOOKS": "tests.fuzz_hooks", "PYTHONPATH": str(ROOT)}
# A profile's number is meant for one test; here every operation has so many in each of several phases.
EXAMPLES = hypothesis.settings().max_examples // 5


def fuzz(url: str, place: Path) -> Any:
    """Run every phase and every check, with failures in schemathesis' own words; return its report."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)]
    command += ["run", f"{url}/openapi.json", "--max-examples", str(EXAMPLES)]
    command += ["--continue-on-failure", "--report", "json", "--report-json-path", "report.json"]
    done = subprocess.run(
        command, cwd=place, env=os.environ | TOKENS | HOOKS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((place / "report.json").read_text())


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"catalog_token": SecretStr(TOKENS["CATALOG_TOKEN"])})


# No worker: the document cannot tell that an upload was rejected meanwhile.
@pytest.mark.timeout(3600)
def test_the_server_keeps_to_its_document(
    engine: Engine, house: Processes, viewer: Sender, tmp_path: Path
) -> None:
    factories.load_many(engine)
    report = fuzz(str(viewer.http.base_url).rstrip("/"), tmp_path)
    assert report["test_cases"]["generated"] >= 200
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert "request.failed" not in house.output("web")
    upload = factories.random_upload(random.Random(1), 1)
    assert viewer.send(factories.body(upload)).answer is Answer.RECEIVED
