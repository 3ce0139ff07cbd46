"""T3 and T4: the server fails, and something between fails or lies."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.browser.conftest import Installation, Learner, Run, drained
from tests.browser.device import ADD, Device
from tests.browser.faults import FAULTS, any_of_them, says
from tests.processes import until

SESSIONS = 40
OUTAGE_MS = 3000
# The others of them alone in the long form, and all of them mixed in either.
SHORT = {"recorded, unheard", "portal, 200"}


@pytest.mark.parametrize("name", [*FAULTS, "mixed"])
def test_T3_T4_whatever_answers_nothing_is_lost(
    phone: Device,
    learner: Learner,
    run: Run,
    name: str,
) -> None:
    if not run.is_long and name not in {*SHORT, "mixed"}:
        pytest.skip("only with --long")
    phone.proxy.fault = FAULTS.get(name, any_of_them)
    page = phone.outbox(learner.number, learner.token)
    page.evaluate(ADD, learner.sessions(SESSIONS))
    page.wait_for_timeout(OUTAGE_MS)
    phone.proxy.fault = None
    tried = len(phone.proxy.posts)
    all_are_kept(phone, learner, run, f"{tried} posts in {OUTAGE_MS / 1000:.0f} s of {name}")


def test_T4_a_proxy_that_refuses_every_token_does_not_stop_the_outbox_for_ever(
    phone: Device, learner: Learner
) -> None:
    phone.proxy.fault = says(401)
    page = phone.outbox(learner.number, learner.token)
    page.evaluate(ADD, learner.sessions(5))
    refused = "() => window.events.some(([type]) => type == 'token-needed')"
    until(lambda: page.evaluate(refused), "it is noticed")
    phone.proxy.fault = None
    # The device has found another network.
    page.evaluate("() => void dispatchEvent(new Event('online'))")
    drained(page)
    assert learner.lost(set(learner.made)) == 0


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
    drained(page, 300)
    uuids = set(learner.made)
    lost = learner.lost(uuids)
    run.figure(f"{what}: {len(uuids)} sessions, lost {lost}, recorded again {phone.proxy.repeated()}")
    assert phone.acknowledged == uuids
    assert lost == 0
    assert learner.progress_is_that_of_one_delivery(uuids)
