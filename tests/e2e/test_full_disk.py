"""On a full disk, uploads are recorded, spooled or refused for a while, not answered otherwise (I1, I12)."""

import json
import os
import random
import shlex
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, NullPool, create_engine

from cli.client import PATH, Sender
from cli.local.places import account_for, read_env
from shared.config import postgres_url
from tests import disks, factories
from tests.clients import log_in
from tests.processes import PATIENCE_S, PROCFILE, Processes, free_port, until
from tests.up import running

pytestmark = [
    pytest.mark.skipif(bool(disks.why_not()), reason=disks.why_not()),
    pytest.mark.timeout(300),
]
FULL_S = 30.0
EVERY_S = 0.05
MEGABYTES = 8


@dataclass
class Place:
    """Where the disk is mounted under the data directory, and the checks that name it."""

    path: str
    megabytes: int = MEGABYTES
    checks: tuple[str, ...] = ("disks",)


METRICS = Place("metrics")
LOG = Place("log")
VALKEY = Place("servers/valkey", 24, ("disks", "spool persistence", "broker"))


def prepare(data_dir: Path, place: Place) -> disks.SmallDisk:
    """Make the directory of the disk, as `up` would."""
    directory, uid = data_dir / place.path, 0
    directory.mkdir(0o711, parents=True)
    if place is VALKEY:
        uid = account_for(data_dir).uid
        directory.parent.chmod(0o700)
        os.chown(directory.parent, uid, uid)
    return disks.SmallDisk(directory, place.megabytes, uid)


def send(viewer: httpx.Client, rng: random.Random) -> str:
    """Send an upload; return what the answer was, in short."""
    answer = viewer.post(PATH, json=factories.random_upload(rng, learner=1))
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in answer.headers:
        return "503"
    return "202" if answer.status_code == httpx.codes.ACCEPTED else answer.text


@pytest.mark.parametrize("place", [METRICS, LOG, VALKEY], ids=lambda place: place.path)
def test_I1_I12_a_full_disk_is_named_and_survived(home: Path, place: Place) -> None:
    data_dir = home / "data"
    with ExitStack() as cleanup:
        disk = prepare(data_dir, place)
        log = disk.directory / "up.log" if place is LOG else None
        up = cleanup.enter_context(running(data_dir, disk=disk, log=log))
        env = read_env(data_dir)
        engine = create_engine(postgres_url(env["DATABASE_URL"]), poolclass=NullPool)
        factories.load_many(engine)
        viewer = cleanup.enter_context(up.viewer())
        rng = random.Random(1)
        assert send(viewer, rng) == "202"
        filler = disk.fill(up.process.pid)
        end = time.monotonic() + FULL_S
        up.find("worker@").kill()
        answers = Counter[str]()
        while time.monotonic() < end:
            answers[send(viewer, rng)] += 1
            time.sleep(EVERY_S)
        found, page = up.doctor(), operators_page(env)
        filler.unlink()
        answers.update(send(viewer, rng) for _ in range(50))
        print(place.path, answers)  # noqa: T201  # shown with -s
        assert {*answers} <= {"202", "503"}
        for check in place.checks:
            assert found[check]["level"] == "fail", found
        assert str(disk.directory) in found["disks"]["detail"]
        assert str(disk.directory) in page
        until(lambda: send(viewer, rng) == "202", "uploads are accepted")
        until(lambda: "received" not in factories.statuses(engine), "everything is replayed")
        until(lambda: [each for each in up.doctor().values() if each["level"] == "fail"] == [], "all is well")


def operators_page(env: dict[str, str]) -> str:
    with httpx.Client(
        base_url=env["API_URL"], trust_env=False, follow_redirects=True, timeout=PATIENCE_S
    ) as operator:
        log_in(operator, env["OPS_PASSWORD"])
        return operator.get("/ops/").text


def test_I1_processes_whose_log_is_on_a_full_disk_go_on_and_say_later_how_much_is_missing(
    engine: Engine, house: Processes, tmp_path: Path
) -> None:
    factories.load_many(engine)
    disk = disks.SmallDisk(tmp_path / "disk", 1)
    disk.directory.mkdir()
    log, port, names = disk.directory / "log", free_port(), ("web", "worker", "sweeper")
    for name in names:  # each has a disk of its own
        command = disk.command(["/bin/sh", "-c", f"exec {PROCFILE[name]}"], log)
        house.start(name, shlex.join(command), PORT=str(port))
    pids = [house.running[name].pid for name in names]
    rng = random.Random(1)
    with Sender(f"http://127.0.0.1:{port}", house.settings.viewer_tokens[0]) as viewer:
        until(lambda: is_ready(viewer.http), "the web process is ready")
        assert send(viewer.http, rng) == "202"
        fillers = [disk.fill(pid) for pid in pids]
        answers = [send(viewer.http, rng) for _ in range(50)]
        assert {*answers} == {"202"}
        until(lambda: factories.statuses(engine) == ["ingested"] * 51, "everything is replayed")
        for filler in fillers:
            filler.unlink()
        send(viewer.http, rng)
        for pid in pids[:2]:
            seen = disks.seen_by(pid, log)
            until(lambda seen=seen: "log.dropped" in seen.read_text(), "it is said what is missing")
            (note,) = (line for line in seen.read_text().splitlines() if "log.dropped" in line)
            assert json.loads(note)["lines"] > 0


def is_ready(web: httpx.Client) -> bool:
    try:
        return web.get("/readyz").is_success
    except httpx.TransportError:
        return False
