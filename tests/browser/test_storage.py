"""T7: the disk is full, the site's data are cleared, the handle is closed, the window is private."""

import random
from typing import Any

from playwright.sync_api import Page, Playwright

from tests.browser.conftest import Learner, Run, drained
from tests.browser.device import OPEN, WAITING, Device
from tests.browser.proxy import Handler, Proxy
from tests.chromium import chromium

ADD_EACH = """async (sessions) => {
    const done = { kept: [], failed: [] };
    for (const session of sessions) {
        await window.outbox.add(session).then(
            () => done.kept.push(session.client_session_uuid),
            (error) => done.failed.push(error.name));
    }
    return done;
}"""


def add_each(page: Page, sessions: list[dict[str, Any]]) -> Any:
    return page.evaluate(ADD_EACH, sessions)


def test_T7_at_a_full_quota_no_added_session_is_lost_and_add_reports_the_others(
    phone: Device, learner: Learner, run: Run
) -> None:
    phone.proxy.fault = Handler.reset
    page = phone.outbox(learner.number, learner.token)
    devtools = phone.context.new_cdp_session(page)
    devtools.send("Storage.overrideQuotaForOrigin", {"origin": phone.proxy.url, "quotaSize": 1_500_000})
    sessions = [each | {"note": random.randbytes(100_000).hex()} for each in learner.sessions(20)]
    done = add_each(page, sessions)
    run.figure(f"kept {len(done['kept'])}, refused {len(done['failed'])} of {len(sessions)}")
    assert set(done["failed"]) == {"QuotaExceededError"}
    assert done["kept"]
    assert page.evaluate(WAITING) == len(done["kept"])
    phone.kill()
    phone.proxy.fault = None
    drained(phone.outbox(learner.number, learner.token))
    assert learner.lost(set(done["kept"])) == 0
    assert set(phone.proxy.recorded) == set(done["kept"])


def test_T7_after_the_site_was_cleared_the_open_page_goes_on(phone: Device, learner: Learner) -> None:
    page = phone.outbox(learner.number, learner.token)
    phone.proxy.fault = Handler.reset
    assert len(add_each(page, learner.sessions(3))["kept"]) == 3
    devtools = phone.context.new_cdp_session(page)
    devtools.send("Storage.clearDataForOrigin", {"origin": phone.proxy.url, "storageTypes": "indexeddb"})
    assert page.evaluate(WAITING) == 0  # they are gone: nobody can help that
    phone.proxy.fault = None
    kept = add_each(page, learner.sessions(3))["kept"]
    assert len(kept) == 3
    page.evaluate("() => window.outbox.flush()")
    drained(page)
    assert learner.lost(set(kept)) == 0


def test_T7_a_page_that_deletes_the_database_does_not_wait_for_the_outbox(
    phone: Device, learner: Learner
) -> None:
    page = phone.outbox(learner.number, "")
    add_each(page, learner.sessions(2))
    deleted = page.evaluate(
        """(name) => new Promise((resolve) => {
            const request = indexedDB.deleteDatabase(name);
            request.onsuccess = () => resolve(true);
            request.onblocked = () => resolve(false);
        })""",
        f"study-outbox:{learner.number}",
    )
    assert deleted
    assert len(add_each(page, learner.sessions(2))["kept"]) == 2


def test_T7_a_private_window_sends_too(playwright: Playwright, proxy: Proxy, learner: Learner) -> None:
    with chromium(playwright) as browser:
        page = browser.new_context(base_url=proxy.url).new_page()
        page.goto("/viewer/")
        page.evaluate(OPEN, {"learner": str(learner.number), "token": learner.token})
        assert len(add_each(page, learner.sessions(5))["kept"]) == 5
        drained(page)
    assert learner.lost(set(learner.made)) == 0
