"""A whole log, sent in order and sent as a mess, leaves the same progress byte for byte (I2, I3)."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.local.servers import Servers
from tests import factories
from tests.conftest import TEMPLATE, fresh_database
from tests.processes import ROOT, Processes, processes

DATA = ROOT.parent / "shared" / "data"
Log = Callable[[Path], Path]


def made_log(place: Path) -> Path:
    """Write a log of three learners."""
    chance = random.Random(11)
    uploads = sorted(
        (factories.random_upload(chance, 1 + n % 3) for n in range(40)), key=lambda each: each["finished_at"]
    )
    (place / "catalog.json").write_text(factories.many_learners().model_dump_json(exclude_none=True))
    (place / "uploads.ndjson").write_text("".join(f"{factories.body(upload)}\n" for upload in uploads))
    return place


def real_log(place: Path) -> Path:
    """Write the log of a real learner."""
    maker = DATA / "make_uploads.py"
    subprocess.run([sys.executable, str(maker), str(DATA / "review_log.csv"), str(place)], check=True)
    return place


@pytest.fixture(
    params=[
        made_log,
        pytest.param(
            real_log,
            marks=pytest.mark.skipif(not DATA.exists(), reason="the real log is not part of the project"),
        ),
    ]
)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write: Log = request.param
    return write(tmp_path)


@pytest.fixture
def second_house(house: Processes, servers: Servers, tmp_path: Path) -> Iterator[Processes]:
    """Run another installation, on a fresh database and the same broker."""
    (tmp_path / "second").mkdir()
    for url in fresh_database(servers, TEMPLATE):
        settings = house.settings.model_copy(update={"database_url": url})
        with processes(settings, tmp_path / "second") as running:
            yield running


def run(house: Processes, *arguments: str, url: str = "") -> str:
    """Run a command of the console script; return what it prints."""
    stores = {
        "DATABASE_URL": house.settings.database_url,
        "API_URL": url,
        "VIEWER_SYNC_TOKEN": "viewer-token",
    }
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
    done = subprocess.run(
        command, env=os.environ | stores, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(house: Processes, log: Path) -> str:
    """Start an installation with the log's catalog; return its address."""
    run(house, "catalog", "load", str(log / "catalog.json"))
    for name in ("worker", "sweeper"):
        house.start(name)
    return house.serve()


def test_I2_I3_a_shuffled_log_sent_three_times_leaves_the_same_progress(
    house: Processes, second_house: Processes, log: Path, tmp_path: Path
) -> None:
    lines = (log / "uploads.ndjson").read_text().splitlines()
    url = install(house, log)
    said = run(house, "upload", str(log / "uploads.ndjson"), "--concurrency", "1", "--wait", url=url)
    assert f"{len(lines)} ingested, 0 already ingested, 0 rejected, 0 failed" in said
    assert "0 differences" in run(house, "verify")
    for name in list(house.running):
        house.kill(name)

    mess = lines * 3
    random.Random(12).shuffle(mess)
    (tmp_path / "mess.ndjson").write_text("\n".join(mess))
    url = install(second_house, log)
    said = run(second_house, "upload", str(tmp_path / "mess.ndjson"), "--concurrency", "4", "--wait", url=url)
    assert "0 rejected, 0 failed" in said
    assert "0 differences" in run(second_house, "verify")

    first = run(house, "progress", "--user", "1")
    assert first.count("\n") > 5
    assert run(second_house, "progress", "--user", "1") == first
