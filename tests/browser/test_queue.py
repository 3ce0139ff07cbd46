"""T10 to T12: sending without a tab, wrong clocks, and much to send; and how long it takes."""

import time
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest
from sqlalchemy import text

from tests.browser.conftest import Learner, Run, drained
from tests.browser.device import ADD, WAITING, Device
from tests.browser.proxy import Handler
from tests.browser.test_page import finished, play, sign_in, states
from tests.processes import until

TIMED = """async (sessions) => {
    const times = [];
    for (const session of sessions) {
        const start = performance.now();
        await window.outbox.add(session);
        times.push(performance.now() - start);
    }
    return times;
}"""
# What no `add` can go below: one transaction of one session, on the disk when it is complete.
BARE_ADD = """async (sessions) => {
    window.bare ??= await new Promise((resolve) => {
        const request = indexedDB.open("bare");
        request.onupgradeneeded = () => request.result.createObjectStore("sessions");
        request.onsuccess = () => resolve(request.result);
    });
    const times = [];
    for (const session of sessions) {
        const start = performance.now();
        const transaction = window.bare.transaction("sessions", "readwrite", { durability: "strict" });
        transaction.objectStore("sessions").add(session, session.client_session_uuid);
        await new Promise((resolve) => { transaction.oncomplete = resolve; });
        times.push(performance.now() - start);
    }
    return times;
}"""
FLUSH = """async (token) => {
    window.tokens.push(token);
    const start = performance.now();
    await window.outbox.flush();
    window.tokens.push("");
    return performance.now() - start;
}"""
# What no queue can go below: the same posts, four at a time, of sessions that nothing keeps.
BARE_POSTS = """async ([token, sessions]) => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const start = performance.now();
    const lane = async () => {
        for (let session; (session = sessions.shift()); ) {
            const body = JSON.stringify(session);
            await (await fetch("/ingest/study/attempts", { method: "POST", headers, body })).text();
        }
    };
    await Promise.all([lane(), lane(), lane(), lane()]);
    return performance.now() - start;
}"""
SHIFTED = """(ms) => {
    const Real = Date;
    window.ahead = ms;
    window.Date = class extends Real {
        constructor(...parts) { parts.length ? super(...parts) : super(Real.now() + window.ahead); }
        static now() { return Real.now() + window.ahead; }
    };
}"""
_ANSWERED = text("""
    SELECT a.answered_at FROM study_question_attempts a JOIN study_quiz_sessions s
    ON s.user_id = a.user_id AND s.id = a.study_quiz_session_id
    WHERE CAST(s.client_session_uuid AS text) = ANY(:uuids) ORDER BY a.answered_at
""")


def test_T10_a_sync_sends_without_a_tab(phone: Device, sample_learner: Learner) -> None:
    phone.proxy.fault = Handler.reset
    page = sign_in(phone, sample_learner)
    play(page, "Science", "11111")
    finished(page)
    until(lambda: states(page) == ["waiting"], "it is listed")
    # Another page of the site, which knows no outbox.
    other = phone.page("/livez")
    devtools = phone.context.new_cdp_session(other)
    registrations: list[str] = []
    devtools.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: registrations.extend(each["registrationId"] for each in event["registrations"]),
    )
    devtools.send("ServiceWorker.enable")
    until(lambda: other.evaluate("() => 1") and registrations, "the service worker is known")
    for each in phone.context.pages:
        if each != other:
            each.close()
    phone.proxy.fault = None
    devtools.send(
        "ServiceWorker.dispatchSyncEvent",
        {
            "origin": phone.proxy.url,
            "registrationId": registrations[0],
            "tag": f"study-outbox:{sample_learner.number}",
            "lastChance": False,
        },
    )
    until(lambda: other.evaluate("() => 1") and phone.proxy.recorded, "it is recorded")
    assert sample_learner.lost(set(phone.proxy.recorded)) == 0


def test_T11_answers_of_a_fast_clock_that_was_set_right_in_mid_session(
    phone: Device, sample_learner: Learner
) -> None:
    page = sign_in(phone, sample_learner)
    page.evaluate(SHIFTED, 180_000)
    start = datetime.now(UTC)
    play(page, "Science", "11111")
    until(lambda: states(page)[:1] == ["sent"], "the first is sent")
    page.get_by_role("button", name="Choose a topic").click()
    play(page, "History", "111")
    page.evaluate("() => { window.ahead = 0; }")
    for key in "11":
        page.keyboard.press(key)
        page.keyboard.press("Enter")
    until(lambda: states(page)[:2] == ["sent", "sent"], "both are sent")
    uuids = phone.proxy.recorded
    assert sample_learner.lost(set(uuids)) == 0
    with sample_learner.engine.connect() as connection:
        answered = connection.execute(_ANSWERED, {"uuids": uuids}).scalars().all()
    assert len(answered) == 10
    # The fast clock's answers are set right by `sent_at`, and none is later than it was received.
    assert all(start - timedelta(seconds=5) < at <= datetime.now(UTC) for at in answered)


def test_T12_a_thousand_sessions_wait_and_the_largest_are_among_them(
    phone: Device,
    learner: Learner,
    run: Run,
) -> None:
    page = phone.outbox(learner.number, "")
    large = learner.sessions(run.times(4, 20), attempts=500)
    small = learner.sessions(run.times(100, 1000) - len(large))
    page.evaluate(ADD, [*large, *small])
    count = len(large) + len(small)
    until(lambda: page.evaluate(WAITING) == count, "all are added", 300)
    listing = page.evaluate(
        """async () => {
            const start = performance.now();
            await window.outbox.status();
            return performance.now() - start;
        }"""
    )
    start = time.monotonic()
    page.evaluate("(token) => { window.tokens.push(token); void window.outbox.flush(); }", learner.token)
    drained(page, 600)
    run.figure(f"{count} sessions: status() in {listing:.0f} ms, sent in {time.monotonic() - start:.1f} s")
    assert phone.proxy.repeated() == 0
    assert learner.lost(set(learner.made)) == 0


@pytest.mark.parametrize(("count", "rtt"), [(1, 0.05), (100, 0.15)])
def test_the_time_to_add_and_to_send(
    phone: Device,
    learner: Learner,
    run: Run,
    count: int,
    rtt: float,
) -> None:
    """Measure beside what is done without an outbox, in turn: the machine may have other work."""

    def later(handler: Handler) -> None:
        time.sleep(rtt)
        handler.pass_on()

    phone.proxy.fault = later
    page = phone.outbox(learner.number, "")
    rounds = run.times(1, 5)
    added, bare_added, sent, bare_sent = [], [], [], []
    for _ in range(rounds):
        added += page.evaluate(TIMED, learner.sessions(count))
        bare_added += page.evaluate(BARE_ADD, learner.sessions(count))
        sent.append(page.evaluate(FLUSH, learner.token))
        bare_sent.append(page.evaluate(BARE_POSTS, [learner.token, learner.sessions(count)]))
    run.figure(
        f"{count} at {rtt * 1000:.0f} ms, median of {rounds}: sent in {median(sent):.0f} ms "
        f"({min(sent):.0f} to {max(sent):.0f}); bare posts, four at a time, {median(bare_sent):.0f} ms "
        f"({min(bare_sent):.0f} to {max(bare_sent):.0f})"
    )
    run.figure(
        f"add: median {median(added):.1f} ms, p95 {p95(added):.1f}; "
        f"a bare strict transaction {median(bare_added):.1f}, p95 {p95(bare_added):.1f}"
    )
    assert len(phone.proxy.recorded) == 2 * rounds * count


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]
