"""T3 and T4: the server fails, and something between fails or lies."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.browser.conftest import Installation, Learner, Run, drained
from tests.browser.device import ADD, Device
from tests.browser.proxy import Handler
from tests.processes import until

SESSIONS = 40
OUTAGE_MS = 3000
HTML = {"Content-Type": "text/html"}


def closed(handler: Handler) -> int:
    return handler.answer(503, b"<html>Unavailable</html>", {**HTML, "Retry-After": "1"})


def slow(handler: Handler) -> int:
    time.sleep(1)
    return handler.pass_on()


def recorded_unheard(handler: Handler) -> int:
    """Let the server record it, and lose its answer."""
    handler.ask()
    return handler.reset()


def cut_off(handler: Handler) -> int:
    """Lose the second half of the answer."""
    answer = handler.ask()
    assert answer is not None
    handler.send_response(answer[0])
    for name, value in {**answer[2], "Content-Length": str(len(answer[1]))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer[1][:20])
    return handler.reset()


def portal(handler: Handler) -> int:
    return handler.answer(200, b"<html>Welcome to our Wi-Fi</html>", HTML)


def portal_json(handler: Handler) -> int:
    return handler.answer(200, b'{"status":"received"}', {"Content-Type": "application/json"})


def redirected(handler: Handler) -> int:
    return handler.answer(302, b"", {"Location": "/viewer/"})


def too_large(handler: Handler) -> int:
    return handler.answer(413, b"<html>Request Entity Too Large</html>", HTML)


@pytest.mark.parametrize(
    "fault",
    [
        closed,
        slow,
        Handler.reset,
        recorded_unheard,
        cut_off,
        portal,
        portal_json,
        redirected,
        too_large,
    ],
)
def test_T3_T4_whatever_answers_nothing_is_lost(
    phone: Device,
    learner: Learner,
    run: Run,
    fault: Callable[[Handler], int],
) -> None:
    phone.proxy.fault = fault
    page = phone.outbox(learner.number, learner.token)
    page.evaluate(ADD, learner.sessions(SESSIONS))
    page.wait_for_timeout(OUTAGE_MS)
    phone.proxy.fault = None
    tried = len(phone.proxy.posts)
    all_are_kept(phone, learner, run, f"{tried} posts in {OUTAGE_MS / 1000:.0f} s of {fault.__name__}")


@contextmanager
def killed(installation: Installation) -> Iterator[None]:
    installation.house.kill("web")
    yield
    installation.start_web()


@contextmanager
def stopped(installation: Installation) -> Iterator[None]:
    """Hold the web process: it accepts connections, and answers nothing."""
    group = installation.house.running["web"].pid
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


@pytest.mark.parametrize("outage", [killed, stopped])
def test_T3_the_web_process_is_away_while_the_outbox_sends(
    phone: Device,
    learner: Learner,
    installation: Installation,
    run: Run,
    outage: Callable[[Installation], Iterator[None]],
) -> None:
    for _ in range(run.times(1, 10)):
        page = phone.outbox(learner.number, learner.token)
        page.evaluate(ADD, learner.sessions(SESSIONS))
        page.wait_for_timeout(150)
        with outage(installation):
            page.wait_for_timeout(OUTAGE_MS)
        drained(page)
        page.close()
    all_are_kept(phone, learner, run, outage.__name__)


def all_are_kept(phone: Device, learner: Learner, run: Run, what: str) -> None:
    page = phone.context.pages[-1] if phone.context.pages else phone.outbox(learner.number, learner.token)
    if page.url == "about:blank":
        page = phone.outbox(learner.number, learner.token)
    until(lambda: page.evaluate("() => window.outbox.status().then((it) => !it.waiting)"), "it drains", 300)
    uuids = set(learner.made)
    lost = learner.lost(uuids)
    run.figure(f"{what}: {len(uuids)} sessions, lost {lost}, recorded again {phone.proxy.repeated()}")
    assert phone.acknowledged == uuids
    assert lost == 0
    assert learner.progress_is_that_of_one_delivery(uuids)
