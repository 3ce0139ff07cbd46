"""A whole log, sent in order and sent as a mess, leaves the same progress byte for byte (I2, I3)."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.local.servers import Servers
from tests import factories, oracle
from tests.conftest import TEMPLATE, fresh_database
from tests.factories import DEFAULT_ZONE
from tests.processes import ROOT, Processes, processes

DATA = ROOT.parent / "shared" / "data"
CLIENTS = 4
COPIES = 3
Log = Callable[[Path], Path]


def made_log(place: Path) -> Path:
    """Write a log of three learners."""
    rng = random.Random(11)
    uploads = sorted(
        (factories.random_upload(rng, 1 + n % 3) for n in range(40)), key=lambda each: each["finished_at"]
    )
    (place / "catalog.json").write_text(factories.many_learners().model_dump_json(exclude_none=True))
    (place / "uploads.ndjson").write_text("".join(f"{factories.body(upload)}\n" for upload in uploads))
    return place


def real_log(place: Path, *options: str) -> Path:
    """Write the log of a real learner."""
    maker = DATA / "make_uploads.py"
    command = [sys.executable, str(maker), str(DATA / "review_log.csv"), str(place), *options]
    subprocess.run(command, check=True)
    return place


needs_real_log = pytest.mark.skipif(not DATA.exists(), reason="the real log is not part of the project")


@pytest.fixture(params=[made_log, pytest.param(real_log, marks=needs_real_log)])
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
        "VIEWER_SYNC_TOKEN": "viewer-token-of-tests",
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


def send_in_order(house: Processes, log: Path) -> str:
    """Deliver each upload once, one after the other; return the progress of the first learner."""
    url = install(house, log)
    printed = run(house, "upload", str(log / "uploads.ndjson"), "--concurrency", "1", "--wait", url=url)
    count = len((log / "uploads.ndjson").read_text().splitlines())
    assert f"{count} ingested, 0 already ingested, 0 rejected, 0 failed" in printed
    assert "0 differences" in run(house, "verify")
    for name in list(house.running):
        house.kill(name)
    return run(house, "progress", "--user", "1")


def send_as_a_mess(house: Processes, log: Path, place: Path) -> str:
    """Deliver each upload three times, shuffled, by four clients at once; return the progress."""
    mess = (log / "uploads.ndjson").read_text().splitlines() * COPIES
    random.Random(12).shuffle(mess)
    url = install(house, log)

    def send(client: int) -> str:
        part = place / f"mess-{client}.ndjson"
        part.write_text("\n".join(mess[client::CLIENTS]))
        return run(house, "upload", str(part), "--wait", url=url)

    with ThreadPoolExecutor(CLIENTS) as clients:
        for printed in clients.map(send, range(CLIENTS)):
            assert "0 rejected, 0 failed" in printed
    assert "0 differences" in run(house, "verify")
    return run(house, "progress", "--user", "1")


def test_I2_I3_a_shuffled_log_sent_three_times_leaves_the_same_progress(
    house: Processes, second_house: Processes, log: Path, tmp_path: Path
) -> None:
    first = send_in_order(house, log)
    assert first.count("\n") > 5
    assert send_as_a_mess(second_house, log, tmp_path) == first


@needs_real_log
def test_I3_editions_and_offsets_change_nothing_but_the_names_of_newer_editions(
    house: Processes, second_house: Processes, tmp_path: Path
) -> None:
    plain, editions = tmp_path / "plain", tmp_path / "editions"
    first = send_in_order(house, real_log(plain))
    later = send_as_a_mess(second_house, real_log(editions, "--editions", "--offsets"), tmp_path)
    assert '.2"' in later
    assert by_first_edition(later) == by_first_edition(first)


def by_first_edition(progress: str) -> list[dict[str, Any]]:
    """Read printed progress; name each question by its first edition."""
    lines = [json.loads(line) for line in progress.splitlines()]
    named = [line | {"pub_id": line["pub_id"].removesuffix(".2")} for line in lines]
    return sorted(named, key=lambda line: str(line["pub_id"]))


@needs_real_log
def test_I3_a_learner_who_travelled_has_the_progress_that_the_oracle_says(
    house: Processes, tmp_path: Path
) -> None:
    log = real_log(tmp_path / "log", "--editions", "--offsets", "--travel", "Asia/Seoul")
    printed = send_as_a_mess(house, log, tmp_path)
    expected = oracle.expected(log / "catalog.json", log / "uploads.ndjson", 1, DEFAULT_ZONE)
    assert len(expected) > 600
    assert oracle.printed(printed) == expected
