"""Uploads are found, read and put right in a browser, with a real worker and sweeper behind it."""

import re
from datetime import UTC, datetime

from playwright.sync_api import Page, expect
from sqlalchemy import Engine, text

from tests.factories import deliver
from tests.ops_factories import SAMPLE, answers, ingest, main_uuid, mark_dead
from tests.processes import until

# What a screen reader says of a link, a button or a field; not of a region that can be scrolled.
FOCUSED = """(({ labels, innerText, tagName }) =>
    tagName === "DIV" ? "" : labels?.[0]?.innerText ?? innerText)(document.activeElement)"""
FAILURE = "OperationalError 53100 at shared/replay.py:40 _learn"


def status(engine: Engine, uuid: object) -> str:
    with engine.connect() as connection:
        query = text("SELECT status FROM uploads WHERE client_session_uuid = :uuid")
        return str(connection.scalar(query, {"uuid": uuid}))


def wait_for_ingested(page: Page) -> None:
    def ingested() -> bool:
        page.reload()
        return page.locator(".facts .status").inner_text() == "ingested"

    until(ingested, "the page says ingested")


def test_a_dead_upload_is_found_by_its_question_read_and_replayed(page: Page, ops_engine: Engine) -> None:
    uuid = mark_dead(ops_engine, answers("sci-unit-of-resistance", note="in the payload"), FAILURE)
    page.goto("/ops/uploads")
    page.get_by_label("Question's public id").fill("sci-unit-of-resistance")
    page.get_by_label("Status").select_option("dead")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=str(uuid)).click()
    expect(page.get_by_text(FAILURE)).to_be_visible()
    expect(page.get_by_text("in the payload")).to_have_count(0)

    page.get_by_role("link", name="Replay…").click()
    expect(page.get_by_role("status")).to_contain_text("the upload would be ingested")
    expect(page.get_by_role("row", name=re.compile("sci-unit-of-resistance"))).to_contain_text("→")
    assert status(ops_engine, uuid) == "dead"
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("The upload is set back, and is replayed soon.")).to_be_visible()

    wait_for_ingested(page)
    expect(page.get_by_role("region", name="Table: Progress")).to_contain_text("sci-unit-of-resistance")
    assert status(ops_engine, uuid) == "ingested"


def test_all_that_match_are_replayed_after_one_question(page: Page, ops_engine: Engine) -> None:
    uuids = [mark_dead(ops_engine, answers("sci-unit-of-force"), f"Rare{n} at x") for n in range(3)]
    other = mark_dead(ops_engine, answers("sci-unit-of-force"), "Common at x")
    page.goto("/ops/uploads?error=rare&status=dead")
    page.get_by_role("link", name="Replay all failed that match…").click()
    expect(page.get_by_role("main")).to_contain_text("3 rejected or dead uploads match")
    page.get_by_role("button", name="Replay 3").click()
    expect(page.get_by_text("3 uploads are set back")).to_be_visible()
    assert status(ops_engine, other) == "dead"
    for uuid in uuids:
        assert status(ops_engine, uuid) != "dead"


def test_the_whole_upload_is_seen_without_a_window_in_the_window(page: Page) -> None:
    page.goto(f"/ops/uploads/{main_uuid()}")
    for table in ("Table: Progress", "Table: Attempts"):
        region = page.get_by_role("region", name=table)
        expect(region.get_by_role("row").nth(14)).to_be_visible()
        assert region.evaluate("it => it.scrollHeight <= it.clientHeight && it.scrollWidth <= it.clientWidth")


def test_the_payload_is_shown_on_request_alone(page: Page, ops_engine: Engine) -> None:
    uuid = ingest(ops_engine, answers("sci-unit-of-force", note="a word of the learner's"))
    page.goto(f"/ops/uploads/{uuid}")
    expect(page.get_by_text("a word of the learner's")).to_have_count(0)
    page.get_by_role("button", name="Show the payload").click()
    expect(page.get_by_role("region", name="Payload")).to_contain_text("a word of the learner's")


def test_an_upload_is_voided_with_a_reason_and_brought_back(page: Page, ops_engine: Engine) -> None:
    uuid = ingest(ops_engine, answers("sci-unit-of-force"))
    page.goto(f"/ops/uploads/{uuid}")
    page.get_by_role("link", name="Void…").click()
    page.get_by_label("Reason").fill("answered by a sibling")
    page.get_by_role("button", name="Void").click()
    expect(page.get_by_text("answered by a sibling", exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Table: Progress")).to_have_count(0)
    page.get_by_role("link", name="Unvoid…").click()
    page.get_by_role("button", name="Unvoid").click()
    expect(page.get_by_text("1 sessions are back.")).to_be_visible()
    expect(page.get_by_role("region", name="Table: Progress")).to_be_visible()


def test_a_wrong_search_says_which_field_is_wrong(page: Page) -> None:
    page.goto("/ops/uploads")
    page.get_by_label("Uuid").fill("not one")
    page.get_by_label("Learner's id").fill("-7")
    page.keyboard.press("Enter")
    for label in ("Uuid", "Learner's id"):
        expect(page.get_by_label(label)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Uuid")).to_have_value("not one")


def test_the_keyboard_alone_leads_to_a_replay(page: Page, ops_engine: Engine) -> None:
    uuid = mark_dead(ops_engine, answers("sci-unit-of-force"), "ByKeyboard at x")
    page.goto("/ops/uploads")

    def tab_to(name: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            here = page.evaluate(FOCUSED)
            if name in (here or ""):
                return
        raise AssertionError(f"the tab key does not lead to {name}")

    tab_to("Skip to the content")
    page.keyboard.press("Enter")
    tab_to("Error or reason contains")
    page.keyboard.type("bykeyboard")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    for name in (str(uuid), "Replay…", "Replay"):
        tab_to(name)
        with page.expect_navigation():
            page.keyboard.press("Enter")
    expect(page.get_by_text("The upload is set back, and is replayed soon.")).to_be_visible()


def test_a_learner_is_reached_and_his_curve_drawn(page: Page) -> None:
    page.goto("/ops/learners?learner=42")
    page.get_by_label("Question").fill("sci-unit-of-force")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("canvas")).to_be_visible()
    expect(page.get_by_role("heading", name=f"Learner {SAMPLE}")).to_be_visible()
    page.get_by_text("The curve, as a table").click()
    likely = page.locator("#curve tbody td:nth-child(2)").all_inner_texts()
    assert all(0 <= float(each) <= 100 for each in likely if each)
    assert "100.0" in likely


def test_a_conflict_is_accepted_and_one_discarded(page: Page, ops_engine: Engine) -> None:
    first = answers("sci-unit-of-force", note="the first")
    ingest(ops_engine, first)
    for pub_id in ("sci-unit-of-resistance", "sci-lightest-element"):
        other = answers(pub_id, note="the other") | {"client_session_uuid": first["client_session_uuid"]}
        deliver(ops_engine, other, datetime.now(UTC))
    page.goto(f"/ops/uploads/{first['client_session_uuid']}")
    page.get_by_role("link", name="Decide…").first.click()
    expect(page.get_by_role("region", name="Present content")).to_have_count(0)
    page.get_by_role("button", name="Show the difference").click()
    expect(page.get_by_role("region", name="Other content")).to_contain_text("sci-unit-of-resistance")
    expect(page.get_by_role("region", name="Difference")).to_contain_text("-sci-unit-of-force: selected 0")
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_text("Accepted: the other content is replayed soon")).to_be_visible()
    wait_for_ingested(page)
    expect(page.get_by_role("region", name="Table: Progress")).to_contain_text("sci-unit-of-resistance")
    expect(page.get_by_role("region", name="Table: Progress")).not_to_contain_text("sci-unit-of-force")

    page.get_by_role("link", name="Decide…").first.click()
    page.get_by_role("link", name="Discard the other content…").click()
    expect(page.get_by_text("is deleted permanently")).to_be_visible()
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_text("Discarded: the upload keeps its present content.")).to_be_visible()
