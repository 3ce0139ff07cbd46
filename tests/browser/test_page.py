"""T8 and T13: the page works offline, after a kill, with the keyboard alone, and for those who see little."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Installation, Learner
from tests.browser.device import Device
from tests.browser.proxy import Handler
from tests.processes import until

TOPICS = ("Science", "Geography", "History")
DRAFTED = """async () => {
    const { read } = await import("/viewer/device.js");
    const { learner } = await read("account");
    return (await read(`draft ${learner}`))?.session.attempts.length;
}"""


def sign_in(phone: Device, learner: Learner) -> Page:
    page = phone.page(f"/viewer/#learner={learner.number}&token={learner.token}")
    page.get_by_role("heading", name="Choose a topic").wait_for()
    assert "token" not in page.url
    page.evaluate("() => navigator.serviceWorker.ready.then(() => undefined)")
    until(lambda: is_controlled(page), "the service worker controls it")
    return page


def is_controlled(page: Page) -> bool:
    if page.evaluate("() => !!navigator.serviceWorker.controller"):
        return True
    page.reload()  # where it was loaded while the worker was activated, only the next load is controlled
    page.get_by_role("heading", name="Choose a topic").wait_for()
    return False


def play(page: Page, topic: str = "Science", answers: str = "1234") -> None:
    """Answer a session with the keyboard: a key for each choice."""
    page.get_by_role("button", name=topic).click()
    for key in answers:
        page.keyboard.press(key)
        page.keyboard.press("Enter")


def play_unsent(phone: Device, learner: Learner) -> Page:
    """Answer a session while the proxy lets none through."""
    page = sign_in(phone, learner)
    phone.proxy.fault = Handler.reset
    play(page, "History", "11111")
    until(lambda: states(page) == ["waiting"], "it is listed")
    return page


def states(page: Page) -> list[str]:
    return page.locator("#sessions .state").all_inner_texts()


def finished(page: Page) -> None:
    page.get_by_role("heading", name="Finished").wait_for()


def test_T8_the_page_works_offline_after_a_kill_and_sends_later(
    phone: Device, installation: Installation, sample_learner: Learner
) -> None:
    sign_in(phone, sample_learner)
    installation.house.kill("web")
    try:
        page = phone.page()
        play(page, "Science", "12344")
        finished(page)
        play_half(page)
        phone.kill()
        page = phone.page()
        # The session that was begun goes on where it was.
        expect(page.get_by_text("Geography, question 3 of 5")).to_be_visible()
        for key in "111":
            page.keyboard.press(key)
            page.keyboard.press("Enter")
        finished(page)
        expect(page.locator("#summary")).to_contain_text("2 sessions wait on this device.")
        until(lambda: states(page) == ["waiting", "waiting"], "both are listed")
    finally:
        installation.start_web()
    page.get_by_role("button", name="Send now").click()
    until(lambda: states(page) == ["sent", "sent"], "both are sent")
    expect(page.locator("#sessions .why").first).to_contain_text("correct")
    assert sample_learner.lost(set(phone.proxy.recorded)) == 0
    assert len(set(phone.proxy.recorded)) == 2


def play_half(page: Page) -> None:
    page.get_by_role("button", name="Choose a topic").click()
    play(page, "Geography", "22")
    expect(page.get_by_text("Geography, question 3 of 5")).to_be_visible()
    drafted(page, 2)


def drafted(page: Page, answers: int) -> None:
    """Wait until so many answers are on the device: they are written behind the page."""
    until(lambda: page.evaluate(DRAFTED) == answers, "the draft is on the device")


def test_T8_a_new_service_worker_takes_over_with_a_full_outbox(
    phone: Device, sample_learner: Learner
) -> None:
    page = sign_in(phone, sample_learner)
    phone.proxy.fault = Handler.reset
    play(page, "History", "11111")
    finished(page)
    until(lambda: states(page) == ["waiting"], "it is listed")
    phone.proxy.new_version = True
    page.evaluate("async () => void (await (await navigator.serviceWorker.getRegistration()).update())")
    until(lambda: len(page.evaluate("() => caches.keys()")) == 1, "the old cache is gone")
    until(lambda: "new-version" in page.evaluate("() => caches.keys()")[0], "the new one is there")
    page.reload()
    phone.proxy.fault = None
    until(lambda: states(page) == ["sent"], "it is sent")


def test_the_way_back_leads_to_the_topics_and_the_session_goes_on(
    phone: Device, sample_learner: Learner
) -> None:
    page = sign_in(phone, sample_learner)
    play(page, "Geography", "22")
    page.go_back()
    page.get_by_role("heading", name="Choose a topic").wait_for()
    page.reload()
    expect(page.get_by_text("Geography, question 3 of 5")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Go on with Geography").click()
    expect(page.get_by_text("Geography, question 3 of 5")).to_be_visible()
    page.go_back()
    # Another topic ends it: its answers are sent.
    page.get_by_role("button", name="Science").click()
    expect(page.get_by_text("Science, question 1 of 5")).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Finish now").click()
    finished(page)
    until(lambda: states(page) == ["sent", "sent"], "both are sent")
    assert page.locator("#sessions .what").all_inner_texts()[1].startswith("Geography, 2 answers")
    page.get_by_text("Your answers").last.click()
    expect(page.locator("#sessions details[open] li")).to_have_count(2)
    expect(page.locator("#sessions details[open] li").first).to_contain_text(", next on")


def test_two_tabs_go_on_with_one_session(phone: Device, sample_learner: Learner) -> None:
    page = sign_in(phone, sample_learner)
    play(page, "History", "12")
    drafted(page, 2)
    other = phone.page()
    expect(other.get_by_text("History, question 3 of 5")).to_be_visible()
    for key in "12":
        other.keyboard.press(key)
        other.keyboard.press("Enter")
    expect(other.get_by_text("History, question 5 of 5")).to_be_visible()
    drafted(other, 4)
    page.evaluate("() => void dispatchEvent(new Event('focus'))")
    expect(page.get_by_text("History, question 5 of 5")).to_be_visible()
    page.get_by_role("button", name="Finish now").click()
    finished(page)
    other.evaluate("() => void dispatchEvent(new Event('focus'))")
    other.get_by_role("heading", name="Choose a topic").wait_for()
    until(lambda: states(page) == states(other) == ["sent"], "it is sent")
    assert len(phone.proxy.posts) == 1


def test_learners_who_share_a_device_see_their_own(phone: Device, sample_learner: Learner) -> None:
    page = sign_in(phone, sample_learner)
    play(page, "Science", "11")
    drafted(page, 2)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page = phone.page("/viewer/#learner=43&token=another-token-of-tests")
    page.get_by_role("heading", name="Choose a topic").wait_for()
    assert states(page) == []
    page = phone.page(f"/viewer/#learner={sample_learner.number}&token={sample_learner.token}")
    expect(page.get_by_text("Science, question 3 of 5")).to_be_visible()


def test_a_session_is_never_sent_with_the_token_of_another_learner(
    phone: Device, sample_learner: Learner
) -> None:
    page = play_unsent(phone, sample_learner)
    other = phone.page("/viewer/#learner=43&token=another-token-of-tests")  # in another tab
    other.get_by_role("heading", name="Choose a topic").wait_for()
    phone.proxy.fault = None
    page.evaluate("() => void dispatchEvent(new Event('online'))")  # tries again at once
    page.get_by_role("heading", name="Sign in").wait_for()
    page = phone.page(f"/viewer/#learner={sample_learner.number}&token={sample_learner.token}")
    page.get_by_role("heading", name="Choose a topic").wait_for()
    until(lambda: states(page) == ["sent"], "it is sent")
    assert {each.token for each in phone.proxy.posts} == {sample_learner.token}


FULL = """() => {
    if (!localStorage.full) return;
    IDBObjectStore.prototype.add = () => { throw new DOMException("the disk is full"); };
}"""


def test_a_session_that_the_outbox_cannot_take_stays_on_the_page(
    phone: Device, sample_learner: Learner
) -> None:
    phone.context.add_init_script(f"({FULL})()")
    page = sign_in(phone, sample_learner)
    page.evaluate("() => void (localStorage.full = 'yes')")
    page.reload()
    play(page, "History", "11111")
    page.get_by_text("the disk is full").wait_for()
    page.reload()
    page.get_by_role("button", name="Save History").wait_for()
    page.get_by_text("the disk is full").wait_for()
    page.evaluate("() => localStorage.clear()")
    page.reload()
    until(lambda: states(page) == ["sent"], "it is sent")
    assert len(phone.proxy.recorded) == 1


def test_a_dead_upload_is_shown_without_a_result_until_it_has_one(
    phone: Device, sample_learner: Learner
) -> None:
    page = play_unsent(phone, sample_learner)
    path = f"/ingest/study/attempts/{page.locator('#sessions ul > li').get_attribute('data-id')}"
    dead = {"status": "dead", "finalized_at": "2026-11-22T09:00:00Z"}
    phone.proxy.files[path] = ("application/json", json.dumps(dead).encode())
    phone.proxy.fault = None
    with page.expect_response(lambda answer: answer.url.endswith(path)):
        page.reload()  # sends at once
    with page.expect_response(lambda answer: answer.url.endswith(path)):
        pass  # it asks again
    assert states(page) == ["sent"]
    assert page.locator("#sessions .why").count() == 0
    del phone.proxy.files[path]
    page.reload()
    expect(page.locator("#sessions .why").first).to_contain_text("correct")


def refuse(handler: Handler) -> None:
    problem = {
        "type": "/problems/rejected-upload",
        "title": "The upload was rejected",
        "status": 422,
        "reason": "other_learner",
    }
    handler.answer(422, json.dumps(problem).encode(), {"Content-Type": "application/problem+json"})


def test_T8_a_refused_session_is_shown_and_can_be_deleted(phone: Device, sample_learner: Learner) -> None:
    page = sign_in(phone, sample_learner)
    phone.proxy.fault = refuse
    play(page, "History", "11111")
    until(lambda: states(page) == ["refused"], "it is refused")
    expect(page.get_by_text("The upload was rejected: other learner")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a file").click()
    assert download.value.path().read_text().count('"client_session_uuid"') == 1
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    until(lambda: states(page) == [], "it is deleted")


def test_the_page_loads_nothing_from_elsewhere_and_runs_under_its_policy(
    phone: Device, sample_learner: Learner
) -> None:
    said: list[str] = []
    asked: set[str] = set()
    phone.context.on("console", lambda message: said.append(message.text))
    phone.context.on("request", lambda request: asked.add(request.url))
    page = sign_in(phone, sample_learner)
    play(page, "Science", "11111")
    finished(page)
    until(lambda: states(page) == ["sent"], "it is sent")
    assert said == []
    assert {url for url in asked if not url.startswith(phone.proxy.url)} == set()
    # A script that gets into the page all the same does not run.
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.hit = 1";
        document.body.append(script);
    }""")
    assert page.evaluate("() => window.hit") is None


def faults(page: Page) -> list[str]:
    return [
        f"{each['id']}: {node['html']}"
        for each in Axe().run(page).response["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_T13_axe_finds_nothing_in_any_part_of_the_page(
    phone: Device, sample_learner: Learner, scheme: str
) -> None:
    phone.options |= {"color_scheme": scheme, "viewport": {"width": 390, "height": 844}}
    page = phone.page()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert faults(page) == []
    page.close()
    page = sign_in(phone, sample_learner)
    assert faults(page) == []
    page.get_by_role("button", name="Science").click()
    page.keyboard.press("2")
    assert faults(page) == []
    phone.proxy.fault = refuse
    for key in "11111":
        page.keyboard.press(key)
        page.keyboard.press("Enter")
    finished(page)
    until(lambda: states(page) == ["refused"], "it is refused")
    phone.proxy.fault = Handler.reset
    page.get_by_role("button", name="Choose a topic").click()
    play(page, "History", "11111")
    until(lambda: states(page) == ["waiting", "refused"], "another waits")
    assert faults(page) == []
    # Nothing stands beyond the edge of a phone.
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_T13_a_session_with_the_tab_key_alone(phone: Device, sample_learner: Learner) -> None:
    page = sign_in(phone, sample_learner)
    assert focused(page) == "Choose a topic"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for number in range(1, 6):
        expect(page.locator(".count span")).to_have_text(f"Science, question {number} of 5")
        assert focused(page) == page.locator("#question-title").inner_text()
        page.keyboard.press("Tab")  # to the choices
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
        assert page.locator("[name=choice]").nth(1).is_checked()
        page.keyboard.press("Tab")  # to "not sure"
        page.keyboard.press("Space")
        assert page.get_by_label("I am not sure").is_checked()
        page.keyboard.press("Tab")
        assert focused(page) == "Next"
        page.keyboard.press("Enter")
    finished(page)
    assert focused(page) == "Finished"


def focused(page: Page) -> str:
    return page.evaluate("() => document.activeElement.textContent")
