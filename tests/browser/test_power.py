"""T2: the power is cut right after `add`, on a disk of the device's own."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Playwright

from tests.browser.conftest import Learner, Run, drained
from tests.browser.device import ADD, Device, device
from tests.browser.proxy import Handler, Proxy
from tests.processes import until

SESSIONS = 20
DISK_BYTES = 256 * 1024 * 1024
MAKE, MOUNT, UNMOUNT = (shutil.which(name) or "" for name in ("mkfs.ext4", "mount", "umount"))
# As before the option `durability` came, and as a page does that leaves it out.
RELAX = """() => {
    const begin = IDBDatabase.prototype.transaction;
    IDBDatabase.prototype.transaction = function (...some) { return begin.apply(this, some.slice(0, 2)); };
}"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (MAKE and MOUNT), reason="a disk of its own needs root and e2fsprogs"
)


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    place = image.with_suffix(".mount")
    place.mkdir(exist_ok=True)
    ran = subprocess.run([MOUNT, "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"no loop device can be mounted here: {ran.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run([UNMOUNT, "--lazy", place], check=True)


def cut(phone: Device, disk: Path, copy: Path) -> None:
    """Copy the disk as it is, with nothing that the system has yet to write; then end the browser."""
    family = [phone.browser(), *phone.browser().children(recursive=True)]
    for each in family:
        each.send_signal(signal.SIGSTOP)
    shutil.copyfile(disk, copy)
    phone.kill()


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
def test_T2_what_add_kept_is_there_after_a_power_cut(  # noqa: PLR0917
    playwright: Playwright, proxy: Proxy, learner: Learner, tmp_path: Path, run: Run, durability: str
) -> None:
    kept = lost = 0
    for number in range(run.times(1, 20)):
        disk, copy = tmp_path / f"{number}.img", tmp_path / f"{number}-after.img"
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run([MAKE, "-q", disk], check=True)
        acknowledged = fill_and_cut(playwright, proxy, learner, disk, copy, durability)
        kept += len(acknowledged)
        proxy.fault = None
        with mounted(copy) as place, device(playwright, place / "profile", proxy) as phone:
            drained(phone.outbox(learner.number, learner.token))
        lost += len(acknowledged - set(proxy.recorded))
        for image in (disk, copy):
            image.unlink()
    run.figure(f"{durability}: lost {lost} of {kept} at {run.times(1, 20)} cuts")
    # The weaker promise shows that this test can see a loss.
    assert lost == 0 if durability == "strict" else lost > 0


def fill_and_cut(  # noqa: PLR0917
    playwright: Playwright, proxy: Proxy, learner: Learner, disk: Path, copy: Path, durability: str
) -> set[str]:
    """Add sessions that cannot be sent, and cut the power; return the ids that `add` has acknowledged."""
    proxy.fault = Handler.reset
    with mounted(disk) as place, device(playwright, place / "profile", proxy) as phone:
        page = phone.outbox(learner.number, learner.token)
        if durability != "strict":
            page.evaluate(RELAX)
        # The profile's own files, and the empty database, are on the disk already.
        os.sync()
        sessions = learner.sessions(SESSIONS)
        page.evaluate(ADD, sessions)
        until(
            lambda: page.evaluate("() => 1") and len(phone.acknowledged) == len(sessions),
            "all are acknowledged",
        )
        cut(phone, disk, copy)
        return set(phone.acknowledged)
