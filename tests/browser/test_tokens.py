"""T6: tokens are refused, renewed or missing; the sessions wait."""

from datetime import timedelta

from playwright.sync_api import Page

from tests.browser.conftest import Issuer, Learner, Run, drained
from tests.browser.device import ADD, WAITING, Device
from tests.processes import until

SESSIONS = 20
RENEW = """(fresh) => {
    window.renewals = 0;
    window.renew = () => { window.renewals++; if (fresh) window.tokens.push(fresh); return fresh; };
}"""


def test_T6_one_refused_token_is_renewed_once_for_all_that_wait(
    phone: Device, learner: Learner, run: Run
) -> None:
    page = phone.outbox(learner.number, "")
    page.evaluate(RENEW, learner.token)
    page.evaluate(ADD, learner.sessions(SESSIONS))
    until(lambda: page.evaluate(WAITING) == SESSIONS, "all are added")
    page.evaluate("() => { window.tokens.push('expired-token-of-tests'); return window.outbox.flush(); }")
    drained(page)
    refused = sum(post.status == 401 for post in phone.proxy.posts)
    run.figure(f"renewals {page.evaluate('() => window.renewals')}, refused posts {refused}")
    assert page.evaluate("() => window.renewals") == 1
    assert refused <= 4
    assert learner.lost(set(learner.made)) == 0


def test_T6_without_a_good_token_everything_waits_untouched_until_the_learner_signs_in(
    phone: Device, learner: Learner
) -> None:
    page = phone.outbox(learner.number, "expired-token-of-tests")
    page.evaluate(RENEW, None)
    page.evaluate(ADD, learner.sessions(SESSIONS))
    until(
        lambda: page.evaluate("() => window.events.some(([type]) => type == 'token-needed')"),
        "the page got the event",
    )
    until(lambda: page.evaluate(WAITING) == SESSIONS, "all are added")
    posts = len(phone.proxy.posts)
    phone.kill()
    page = phone.outbox(learner.number, "")  # signed out
    page.evaluate("() => window.outbox.flush()")
    assert len(phone.proxy.posts) == posts
    assert all(page.evaluate("() => window.outbox.items().then((all) => all.map((it) => it.tries == 0))"))
    page.evaluate("(token) => { window.tokens.push(token); return window.outbox.flush(); }", learner.token)
    drained(page)
    assert learner.lost(set(learner.made)) == 0
    assert learner.progress_is_that_of_one_delivery(set(learner.made))


def test_T6_an_expired_token_and_one_of_a_key_that_was_taken_out_are_renewed(
    phone: Device, learner: Learner, issuer: Issuer
) -> None:
    page = phone.outbox(learner.number, issuer.token(learner.number, timedelta(hours=-1)))
    page.evaluate(RENEW, issuer.token(learner.number))
    page.evaluate(ADD, learner.sessions(SESSIONS))
    all_sent(phone, page, SESSIONS)
    issuer.rotate()
    page.evaluate(RENEW, issuer.token(learner.number))
    page.evaluate(ADD, learner.sessions(SESSIONS))
    all_sent(phone, page, 2 * SESSIONS)
    assert {post.status for post in phone.proxy.posts} == {202, 401}
    assert learner.lost(set(learner.made)) == 0
    assert learner.progress_is_that_of_one_delivery(set(learner.made))


def all_sent(phone: Device, page: Page, count: int) -> None:
    def is_done() -> bool:
        return page.evaluate(WAITING) == 0 and len(set(phone.proxy.recorded)) == count

    until(is_done, "all are sent")


def test_T6_another_learners_questions_are_rejected_and_move_nothing(
    phone: Device, learner: Learner, other_learner: Learner, issuer: Issuer
) -> None:
    (session,) = other_learner.sessions(1)
    page = phone.outbox(learner.number, issuer.token(learner.number))
    page.evaluate(ADD, [session])
    drained(page)
    learner.await_ingested(set(phone.proxy.recorded))
    assert learner.rejections(set(phone.proxy.recorded)) == {session["client_session_uuid"]: "other_learner"}
    assert learner.progress() == other_learner.progress() == []
