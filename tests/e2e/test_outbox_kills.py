"""The Python outbox in processes that are killed, stopped and cut off: all is recorded, and counts once.

`OUTBOX_KILLS=100 OUTBOX_SESSIONS=100 OUTBOX_CUTS=20` is the long form.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine

from shared.models import Upload
from shared.study.store import list_progress
from study_outbox import Outbox
from tests import factories
from tests.browser.faults import any_of_them, says
from tests.browser.proxy import Handler, Proxy, proxying
from tests.processes import ROOT, Processes, as_root, until

KILLS = int(os.environ.get("OUTBOX_KILLS", "6"))
CUTS = int(os.environ.get("OUTBOX_CUTS", "3"))
SESSIONS = int(os.environ.get("OUTBOX_SESSIONS", "50"))
TOKEN = "viewer-token-of-tests"
LEARNER, TWIN = 1, 4  # in one zone
T = TypeVar("T")


@dataclass
class Device:
    """A process with an outbox; `kept` are the sessions that it said to have kept."""

    path: Path
    url: str
    kept: set[str] = field(default_factory=set)
    process: subprocess.Popen[str] = field(init=False)
    reader: threading.Thread = field(init=False)

    def start(self, sessions: list[dict[str, Any]]) -> None:
        command = [sys.executable, "-m", "tests.outbox_device", str(self.path), self.url, str(LEARNER), TOKEN]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.process.stdin.write("".join(json.dumps(each) + "\n" for each in sessions))
        self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.kept.add(line.strip())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        assert self.process.stdout
        self.process.stdout.close()

    def has_kept(self, count: int) -> bool:
        return len(self.kept) >= count

    def waiting(self) -> int:
        return look(self.path, lambda outbox: outbox.status().waiting)


def look(path: Path, at: Callable[[Outbox], T]) -> T:
    """Open an outbox without sending, and close it."""
    outbox = Outbox(path, url="http://127.0.0.1:1", learner=LEARNER, token=TOKEN)
    try:
        return at(outbox)
    finally:
        outbox.close()


@pytest.fixture
def proxy(house: Processes, engine: Engine) -> Iterator[Proxy]:
    factories.load_many(engine, TWIN)
    for name in ("worker", "sweeper"):
        house.start(name)
    with proxying(house.serve()) as proxy:
        yield proxy


@pytest.fixture
def device(tmp_path: Path, proxy: Proxy) -> Iterator[Device]:
    device = Device(tmp_path / "outbox.db", proxy.url)
    yield device
    if device.process.poll() is None:
        device.kill()


def sessions(seed: int, count: int = SESSIONS) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    made = [factories.random_upload(rng, LEARNER, 3) for _ in range(count)]
    for each in made:
        del each["sent_at"]
    return made


def statuses(engine: Engine) -> dict[str, str]:
    return {str(row["client_session_uuid"]): row["status"] for row in factories.rows(engine, Upload)}


def nothing_is_lost(engine: Engine, kept: set[str], made: list[dict[str, Any]]) -> None:
    """Check that all are ingested, and that progress is what one delivery in order gives."""
    until(lambda: "received" not in statuses(engine).values(), "all are worked off")
    found = statuses(engine)
    assert {uuid for uuid in kept if found.get(uuid) != "ingested"} == set()
    arrived = [each for each in made if each["client_session_uuid"] in found]
    for each in sorted(arrived, key=lambda each: str(each["finished_at"])):
        twin = json.dumps(each).replace(f"q-{LEARNER}-", f"q-{TWIN}-")
        factories.ingest(engine, json.loads(twin) | {"client_session_uuid": _other(each)})
    with engine.connect() as connection:
        mine, reference = (
            [line | {"pub_id": line["pub_id"].rpartition("-")[2]} for line in list_progress(connection, one)]
            for one in (LEARNER, TWIN)
        )
    assert mine == reference


def _other(upload: dict[str, Any]) -> str:
    uuid = str(upload["client_session_uuid"])
    return uuid[:-1] + ("0" if uuid[-1] != "0" else "1")


def test_T1_nothing_is_lost_at_any_kill(device: Device, proxy: Proxy, engine: Engine) -> None:
    rng = random.Random(1)
    made = []
    for number in range(KILLS):
        new = sessions(number)
        made += new
        begun = partial(device.has_kept, len(device.kept) + 1)
        device.start(new)
        until(begun, "it has begun")
        with pytest.raises(subprocess.TimeoutExpired):
            device.process.wait(rng.uniform(0, 0.012 * SESSIONS))
        device.kill()
    device.start([])
    until(lambda: device.waiting() == 0, "all are sent")
    assert len(device.kept) >= KILLS
    nothing_is_lost(engine, device.kept, made)
    sys.stdout.write(f"{KILLS} kills, {len(device.kept)} kept, lost 0, sent again {proxy.repeated()}\n")


@contextmanager
def mounted(disk: Path, directory: Path) -> Iterator[Path]:
    """Mount an image; skip the test where that cannot be done."""
    mount = ["mount", "-o", "loop", disk, directory]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this system mounts no images")
    try:
        yield directory / "outbox.db"
    finally:
        subprocess.run(["umount", directory], check=True)  # noqa: S607  # wherever it is


def as_of_one_moment(disk: Path) -> bytes:
    """Read a mounted disk until two reads agree.

    Otherwise the file system may write while it is read, and the copy would be older at its front than at its
    end: no power cut leaves that.
    """
    before, content = b"", disk.read_bytes()
    while content != before:
        before, content = content, disk.read_bytes()
    return content


@as_root
@pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="no mkfs.ext4")
def test_T2_what_is_kept_survives_a_power_cut(tmp_path: Path) -> None:
    """Copy the disk at the acknowledgement: what has not reached it by then is gone."""
    disk, copy, directory = tmp_path / "disk", tmp_path / "copy", tmp_path / "mounted"
    directory.mkdir()
    rng = random.Random(2)
    kept = 0
    for number in range(CUTS):
        with disk.open("wb") as image:
            image.truncate(16 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)  # noqa: S607  # wherever it is
        enough = rng.randrange(1, 40)
        with mounted(disk, directory) as path:
            device = Device(path, "http://127.0.0.1:1")
            device.start(sessions(number, 200))
            until(partial(device.has_kept, enough), "it has kept some")
            acknowledged = set(device.kept)
            device.process.send_signal(signal.SIGSTOP)
            copy.write_bytes(as_of_one_moment(disk))
            device.kill()
        with mounted(copy, directory) as path:
            found = look(path, lambda outbox: {item.id for item in outbox.items()})
        assert acknowledged - found == set()
        kept += len(acknowledged)
    sys.stdout.write(f"{CUTS} cuts, {kept} kept, lost 0\n")


def test_T3_nothing_is_lost_while_the_server_fails(
    device: Device, proxy: Proxy, engine: Engine, house: Processes
) -> None:
    """Be killed, be stopped, and answer with every fault; some of what seems to fail has been recorded."""
    faults: list[Callable[[Handler], None]] = [any_of_them, says(401), Handler.pass_on, Handler.pass_on]
    rng = random.Random(3)
    proxy.fault = lambda handler: rng.choice(faults)(handler)  # noqa: PLW0108  # chosen each time
    made = sessions(3)
    device.start(made)
    port = proxy.upstream.rpartition(":")[2]
    until(lambda: len(set(proxy.recorded)) > 10, "some are recorded")
    house.kill("web")
    house.start("web", PORT=port)
    house.until_ready(proxy.upstream)
    until(lambda: len(set(proxy.recorded)) > 20, "more are recorded")
    os.killpg(house.running["web"].pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        device.process.wait(1)
    os.killpg(house.running["web"].pid, signal.SIGCONT)
    proxy.fault = None
    until(lambda: device.waiting() == 0, "all are sent")
    assert len(device.kept) == SESSIONS
    nothing_is_lost(engine, device.kept, made)


def test_T5_processes_that_share_a_file_hand_over(device: Device, proxy: Proxy, engine: Engine) -> None:
    """Of three that send, one is killed and one hangs: the third sends what they had taken."""
    proxy.fault = lambda handler: handler.answer(503)
    made = [sessions(number, 20) for number in range(3)]
    others = [Device(device.path, device.url) for _ in range(2)]
    devices = [device, *others]
    try:
        for one, new in zip(devices, made, strict=True):
            one.start(new)
        until(lambda: all(len(one.kept) == 20 for one in devices), "all are kept")
        slow = threading.Event()

        def fault(handler: Handler) -> None:
            slow.wait(0.05)
            handler.pass_on()

        proxy.fault = fault
        until(lambda: len(set(proxy.recorded)) > 5, "they send")
        others[0].kill()
        others[1].process.send_signal(signal.SIGSTOP)
        until(lambda: device.waiting() == 0, "the third sends all")
    finally:
        others[1].kill()
        if others[0].process.poll() is None:
            others[0].kill()
    # Each of the two had four under way at most.
    assert proxy.repeated() <= 8
    kept = device.kept | others[0].kept | others[1].kept
    nothing_is_lost(engine, kept, [each for new in made for each in new])
