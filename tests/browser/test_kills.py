"""T1: the browser is killed while it adds and sends."""

import random

from tests.browser.conftest import Learner, Run, drained
from tests.browser.device import ADD, Device

SESSIONS = 60


def test_T1_nothing_is_lost_at_any_kill(
    phone: Device,
    learner: Learner,
    run: Run,
) -> None:
    rng = random.Random(1)
    for _ in range(run.times(3, 100)):
        page = phone.outbox(learner.number, learner.token)
        page.evaluate(ADD, learner.sessions(SESSIONS))
        page.wait_for_timeout(rng.uniform(50, 1200))
        phone.kill()
    page = phone.outbox(learner.number, learner.token)
    drained(page, run.times(180, 900))
    lost = learner.lost(phone.acknowledged)
    run.figure(
        f"{phone.kills} kills, {len(phone.acknowledged)} acknowledged, lost {lost}, "
        f"recorded {len(set(phone.proxy.recorded))}, sent again {phone.proxy.repeated()}"
    )
    assert len(phone.acknowledged) >= phone.kills
    assert lost == 0
    assert learner.progress_is_that_of_one_delivery(set(phone.proxy.recorded))
