"""What the queues that others use lose where this outbox loses nothing; in the long form alone."""

import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page

from tests.browser.conftest import Learner, Run
from tests.browser.device import Device
from tests.browser.faults import FAULTS, says
from tests.browser.proxy import Proxy

SOURCES = Path(__file__).with_name("others")
NPM = shutil.which("npm") or ""
SESSIONS = 20
FAULT_MS = 4000
SILENCE_S = 8.0  # without another session recorded: the queue has given up, or waits for minutes
SEND = """async ([queue, sessions]) => {
    const send = await window.queues[queue]();
    for (const session of sessions) {
        await send(session);
        window.acknowledge(session.client_session_uuid);
    }
}"""

# All that is stored on the device, whichever way a queue names it.
STORED = """async () => {
    let count = 0;
    for (const { name } of await indexedDB.databases()) {
        const database = await new Promise((resolve) => {
            indexedDB.open(name).onsuccess = (event) => resolve(event.target.result);
        });
        for (const store of database.objectStoreNames) {
            count += await new Promise((resolve) => {
                const request = database.transaction(store).objectStore(store).getAllKeys();
                request.onsuccess = () => resolve(request.result.length);
            });
        }
        database.close();
    }
    return count;
}"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    if not NPM:
        pytest.skip("no npm is on the PATH: install Debian's package")
    home = tmp_path_factory.mktemp("others")
    shutil.copytree(SOURCES, home, dirs_exist_ok=True)
    subprocess.run([NPM, "install", "--silent", "--ignore-scripts", "--no-audit"], cwd=home, check=True)
    esbuild = [home / "node_modules/.bin/esbuild", "page.js", "workbox.js", "--bundle", "--format=esm"]
    production = "--define:process.env.NODE_ENV='production'"
    subprocess.run(
        [*esbuild, "--external:/viewer/*", production, "--outdir=out", "--log-level=error"],
        cwd=home,
        check=True,
    )
    return {name: (home / "out" / name).read_bytes() for name in ("page.js", "workbox.js")}


def open_page(phone: Device, token: str) -> Page:
    page = phone.context.new_page()
    page.add_init_script(f"localStorage.token = {token!r}")
    page.goto("/others/")
    page.wait_for_function("() => window.queues")
    return page


@pytest.mark.parametrize(
    "fault", ["reset", "closed", "token refused", "portal, 200", "content network", "recorded, unheard"]
)
@pytest.mark.parametrize("queue", ["ours", "workbox", "sentry", "tanstack"])
def test_what_each_queue_loses(  # noqa: PLR0917
    phone: Device,
    learner: Learner,
    bundles: dict[str, bytes],
    run: Run,
    queue: str,
    fault: str,
) -> None:
    if not run.is_long:
        pytest.skip("only with --long")
    phone.proxy.files = {f"/others/{name}": ("text/javascript", code) for name, code in bundles.items()}
    phone.proxy.files["/others/"] = ("text/html", b'<script type="module" src="page.js"></script>')
    page = open_page(phone, learner.token)
    phone.proxy.fault = FAULTS.get(fault, says(401, b"", {"WWW-Authenticate": "Bearer"}))
    # Workbox and Sentry say nothing of a kept session until the request has ended.
    page.evaluate(f"(all) => void ({SEND})(all)", [queue, learner.sessions(SESSIONS)])
    page.wait_for_timeout(FAULT_MS)
    phone.kill()
    phone.proxy.fault = None
    page = open_page(phone, learner.token)
    page.evaluate(f"(all) => void ({SEND})(all)", [queue, []])
    await_silence(page, phone.proxy)
    if queue == "workbox":
        sync(page, phone)
        await_silence(page, phone.proxy)
    missing = len(phone.acknowledged - set(phone.proxy.recorded))
    waiting = min(missing, page.evaluate(STORED))
    run.figure(f"of {len(phone.acknowledged)} acknowledged lost {missing - waiting}, waiting still {waiting}")
    assert missing == 0 or queue != "ours"


def await_silence(page: Page, proxy: Proxy) -> None:
    count, since = -1, time.monotonic()
    while time.monotonic() - since < SILENCE_S:
        page.wait_for_timeout(250)
        if count != (count := len(set(proxy.recorded))):
            since = time.monotonic()


def sync(page: Page, phone: Device) -> None:
    """Send the event that the browser would send, some time."""
    devtools = phone.context.new_cdp_session(page)
    registrations: list[str] = []
    devtools.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: registrations.extend(each["registrationId"] for each in event["registrations"]),
    )
    devtools.send("ServiceWorker.enable")
    page.wait_for_timeout(500)
    tag = {"origin": phone.proxy.url, "tag": "workbox-background-sync:sessions", "lastChance": True}
    for each in registrations:
        with suppress(Error):
            devtools.send("ServiceWorker.dispatchSyncEvent", {**tag, "registrationId": each})
