"""T5: several tabs share an outbox; one of them is closed, crashes or hangs."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest
from playwright.sync_api import Error, Page

from tests.browser.conftest import TABS, Learner, Run, drained
from tests.browser.device import ADD, WAITING, Device
from tests.browser.proxy import Handler, Post, Proxy
from tests.processes import living, until

SESSIONS = 60


def slowly(handler: Handler) -> None:
    """Leave a test the time to end a tab while it sends."""
    time.sleep(0.15)
    handler.pass_on()


def some_slowly(proxy: Proxy) -> threading.Event:
    """Let some pass, and the rest after the event: however slow a test is, it comes in between."""
    ended = threading.Event()

    def pass_some(handler: Handler) -> None:
        if len(proxy.recorded) > SESSIONS // 3:
            ended.wait()
        slowly(handler)

    proxy.fault = pass_some
    return ended


def queue(phone: Device, learner: Learner, count: int) -> None:
    """Put sessions into the outbox of somebody who is not signed in."""
    page = phone.outbox(learner.number, "")
    page.evaluate(ADD, learner.sessions(count))
    until(lambda: page.evaluate(WAITING) == count, "all are added")
    page.close()


def open_tabs(phone: Device, learner: Learner, count: int) -> dict[str, Page]:
    """Open tabs, each with a token of its own, so that a post says which tab sent it; the first one sends."""
    return {token: phone.outbox(learner.number, token) for token in TABS[:count]}


def all_recorded(phone: Device, count: int, pages: list[Page]) -> None:
    def is_done() -> bool:
        pages[0].evaluate("() => 0")  # lets the browser's messages in
        return len(set(phone.proxy.recorded)) == count

    until(is_done, "all are recorded", 120)


@pytest.mark.parametrize("tabs", [2, 5])
def test_T5_each_session_is_sent_once_however_many_tabs_there_are(
    phone: Device, learner: Learner, run: Run, tabs: int
) -> None:
    queue(phone, learner, SESSIONS)
    phone.proxy.fault = slowly
    pages = list(open_tabs(phone, learner, tabs).values())
    for page in pages:
        page.evaluate("() => window.outbox.flush()")
    all_recorded(phone, SESSIONS, pages)
    run.figure(f"{tabs} tabs, {SESSIONS} sessions: {len(phone.proxy.posts)} posts")
    assert len(phone.proxy.posts) == SESSIONS
    assert learner.lost(set(learner.made)) == 0


def close(page: Page) -> None:
    page.close(run_before_unload=False)


def crash(page: Page) -> None:
    with suppress(Error):
        page.goto("chrome://crash", timeout=1000)


@pytest.mark.parametrize("end", [close, crash])
def test_T5_another_tab_goes_on_where_one_ended(
    phone: Device,
    learner: Learner,
    run: Run,
    end: Callable[[Page], None],
) -> None:
    queue(phone, learner, SESSIONS)
    ended = some_slowly(phone.proxy)
    pages = open_tabs(phone, learner, 3)
    until(lambda: pages[TABS[2]].evaluate(WAITING) < SESSIONS - 8 and phone.proxy.posts, "one of them sends")
    sender = phone.proxy.posts[-1].token
    end(pages.pop(sender))
    gone = time.monotonic()
    ended.set()
    all_recorded(phone, SESSIONS, list(pages.values()))
    first = min(post.at for post in phone.proxy.posts if post.token != sender)
    run.figure(
        f"{end.__name__}: the next tab's first post {(first - gone) * 1000:.0f} ms after the end was noticed"
    )
    assert learner.lost(set(learner.made)) == 0
    assert phone.proxy.repeated() <= 4  # those that were on their way


def renderer_of(page: Page, device: Device) -> psutil.Process:
    """Find a tab's process: the one that computes while the tab does."""

    def computed() -> dict[psutil.Process, float]:
        family = living(device.browser().children(recursive=True), psutil.Process.cmdline)
        tabs = [each for each, line in family if "--type=renderer" in line]
        return {each: sum(times[:2]) for each, times in living(tabs, psutil.Process.cpu_times)}

    before, found = computed(), list[psutil.Process]()

    def computes_most() -> bool:
        """Let the tab compute; return whether one process has computed a second more than all others."""
        page.evaluate("() => { for (const end = performance.now() + 1500; performance.now() < end; ); }")
        after = computed()
        spent = {each: after[each] - before[each] for each in before.keys() & after.keys()}
        found[:] = [each for each in spent if spent[each] > 1 + sum(spent.values()) - spent[each]]
        return bool(found)

    until(computes_most, "the tab's process is known")
    return found[0]


def test_T5_a_tab_that_hangs_loses_its_turn_and_stops(phone: Device, learner: Learner, run: Run) -> None:
    queue(phone, learner, SESSIONS)
    phone.proxy.fault = lambda handler: handler.answer(503, b"", {"Retry-After": "8"})
    pages = open_tabs(phone, learner, 2)
    renderers = {token: renderer_of(page, phone) for token, page in pages.items()}
    assert len(set(renderers.values())) == 2
    ended = some_slowly(phone.proxy)
    # Asked of one of them: a third page would wait for the lock, too, and might steal it from the second tab.
    until(lambda: pages[TABS[0]].evaluate(WAITING) < SESSIONS - 8, "one of them sends")
    sender = phone.proxy.posts[-1].token
    os.kill(renderers[sender].pid, signal.SIGSTOP)
    hung = time.monotonic()
    ended.set()
    try:
        del pages[sender]
        ((token, other),) = pages.items()
        all_recorded(phone, SESSIONS, [other])
        first = min(post.at for post in by(token, phone.proxy) if post.at > hung)
        run.figure(f"first post of the other tab {first - hung:.1f} s after the first one hung")
    finally:
        os.kill(renderers[sender].pid, signal.SIGCONT)
    # It has lost its turn: what it had begun may be sent twice, and nothing else.
    other.evaluate(ADD, learner.sessions(8))
    drained(other)
    other.wait_for_timeout(1000)
    assert phone.proxy.repeated() <= 4
    assert learner.lost(set(learner.made)) == 0


def by(token: str, proxy: Proxy) -> list[Post]:
    return [post for post in list(proxy.posts) if post.token == token]
