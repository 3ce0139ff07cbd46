"""A learner's device: Chromium with a profile of its own, which can be killed and started again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import BrowserContext, Error, Page, Playwright

from tests.browser.proxy import Proxy
from tests.chromium import FLAGS, program
from tests.processes import PATIENCE_S

# Opens an outbox in the page; `acknowledge` hears of each session that `add` has put on the disk.
# `adding` counts those that are not there yet.
OPEN = """async ({learner, token, url}) => {
    const { Outbox } = await import("/viewer/study-outbox/outbox.js");
    window.events = [];
    window.tokens ??= [token];
    window.outbox = new Outbox({ url: url ?? location.origin, learner,
        token: ({ refused }) => (refused && window.renew ? window.renew() : window.tokens.at(-1)) });
    const note = ({ type, detail }) => window.events.push([type, detail?.id, detail?.type]);
    for (const type of ["sent", "refused", "token-needed"]) window.outbox.addEventListener(type, note);
}"""
ADD = """(sessions) => void (async () => {
    window.adding = (window.adding ?? 0) + sessions.length;
    for (const session of sessions) {
        await window.outbox.add(session);
        window.acknowledge(session.client_session_uuid);
        window.adding--;
    }
})()"""
# Without a word of the outbox' own: the database of a learner, as a page that opens it would see it.
WAITING = "() => window.outbox.status().then(({ waiting }) => waiting)"
# Together with those that are still to be added: they are counted first, or one could slip in between.
UNSENT = """async () => {
    const adding = window.adding ?? 0;
    return adding + (await window.outbox.status()).waiting;
}"""


@dataclass
class Device:
    """One profile; `acknowledged` are the ids that were heard of before a kill."""

    playwright: Playwright
    profile: Path
    proxy: Proxy
    acknowledged: set[str] = field(default_factory=set)
    options: dict[str, Any] = field(default_factory=dict)
    kills: int = 0
    _context: BrowserContext | None = None

    @property
    def context(self) -> BrowserContext:
        if self._context is None:
            self._context = self.playwright.chromium.launch_persistent_context(
                self.profile,
                executable_path=program(),
                args=FLAGS,
                base_url=self.proxy.url,
                service_workers="allow",
                **self.options,
            )
            self._context.set_default_timeout(PATIENCE_S * 1000)
            self._context.expose_binding("acknowledge", lambda _, uuid: self.acknowledged.add(uuid))
        return self._context

    def page(self, path: str = "/viewer/") -> Page:
        """Open a tab."""
        page = self.context.new_page()
        page.goto(path)
        return page

    def outbox(self, learner: int, token: str, **options: Any) -> Page:
        """Open a tab with a learner's outbox as `window.outbox`."""
        page = self.page()
        page.evaluate(OPEN, {"learner": str(learner), "token": token, **options})
        return page

    def browser(self) -> psutil.Process:
        """Find the browser's main process."""
        mine = f"--user-data-dir={self.profile}"
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                line = child.cmdline()
                if mine in line and not any(part.startswith("--type=") for part in line):
                    return child
        raise AssertionError("the browser does not run")

    def kill(self) -> None:
        """End the whole browser with SIGKILL, at once."""
        main = self.browser()
        family = [*main.children(recursive=True), main]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=PATIENCE_S)
        self.kills += 1
        self.close()

    def close(self) -> None:
        if self._context is not None:
            with suppress(Error):
                self._context.close()
            self._context = None
        # A killed browser leaves its lock.
        for name in ("SingletonLock", "SingletonCookie", "SingletonSocket"):
            (self.profile / name).unlink(missing_ok=True)


@contextmanager
def device(playwright: Playwright, profile: Path, proxy: Proxy, **options: Any) -> Iterator[Device]:
    """Give a test a device."""
    made = Device(playwright, profile, proxy, options=options)
    try:
        yield made
    finally:
        made.close()
