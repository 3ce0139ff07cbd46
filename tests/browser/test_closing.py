"""T9: the tab is closed right after `add`, before the first preflight of another origin is answered."""

import time

from playwright.sync_api import Page

from tests.browser.conftest import Installation, Learner, Run, drained
from tests.browser.device import ADD, OPEN, WAITING, Device
from tests.browser.proxy import proxying
from tests.processes import until

SLOW_PREFLIGHT_S = 0.3
CLOSE = """async (session) => {
    await window.outbox.add(session);
    await window.acknowledge(session.client_session_uuid);
}"""


def viewer_elsewhere(phone: Device, installation: Installation, url: str, learner: Learner) -> Page:
    """Open the page at the server's other name, which is an origin of its own, with an outbox for `url`."""
    phone.options["bypass_csp"] = True  # the page's own policy allows its own origin alone
    page = phone.context.new_page()
    page.goto(f"{installation.url.replace('127.0.0.1', 'localhost')}/viewer/")
    page.evaluate(OPEN, {"learner": str(learner.number), "token": learner.token, "url": url})
    return page


def test_T9_a_session_survives_a_tab_that_is_closed_right_after_it(
    phone: Device, installation: Installation, learner: Learner, run: Run
) -> None:
    arrived = 0
    for _ in range(run.times(3, 10)):
        # Of another port each time: no preflight is remembered.
        with proxying(installation.url) as proxy:
            proxy.preflight_s = SLOW_PREFLIGHT_S
            page = viewer_elsewhere(phone, installation, proxy.url, learner)
            (session,) = learner.sessions(1)
            page.evaluate(CLOSE, session)
            page.close()
            time.sleep(3)
            arrived += bool(proxy.recorded)
            drained(viewer_elsewhere(phone, installation, proxy.url, learner))
    run.figure(f"arrived after the tab had closed {arrived} of {len(learner.made)}, lost 0 at the next visit")
    assert phone.acknowledged == set(learner.made)
    assert learner.lost(set(learner.made)) == 0


def test_T9_a_hundred_sessions_of_another_origin_need_one_preflight(
    phone: Device, installation: Installation, learner: Learner, run: Run
) -> None:
    phone.proxy.preflight_s = 0.05
    page = viewer_elsewhere(phone, installation, phone.proxy.url, learner)
    page.evaluate("() => window.tokens.push('')")
    page.evaluate(ADD, learner.sessions(100))
    until(lambda: page.evaluate(WAITING) == 100, "all are added")
    page.evaluate("(token) => { window.tokens.push(token); return window.outbox.flush(); }", learner.token)
    drained(page)
    run.figure(f"{phone.proxy.preflights} preflights for {len(phone.proxy.posts)} posts")
    assert phone.proxy.preflights == 1
    assert learner.lost(set(learner.made)) == 0
