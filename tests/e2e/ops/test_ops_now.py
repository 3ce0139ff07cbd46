"""The page of now tells what happens while it happens."""

import re

from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from tests.ops_factories import answers, mark_dead
from tests.processes import until


def figure(page: Page, name: str) -> str:
    return page.locator(".figures div", has=page.get_by_text(name, exact=True)).locator("dd").inner_text()


def test_it_shows_a_failure_without_a_reload(page: Page, ops_engine: Engine) -> None:
    page.goto("/ops/")
    expect(page.locator("canvas")).to_have_count(2)
    page.evaluate("window.same = true")
    page.get_by_text("The last hour, as a table").click()
    dead = int(figure(page, "Dead"))
    mark_dead(ops_engine, answers("sci-unit-of-force"), "SomeError at shared/replay.py:1")
    expect(page.locator(".figures")).to_contain_text(re.compile(rf"Dead\s*{dead + 1}"))
    expect(page.get_by_role("status")).to_have_text(
        "There are dead uploads: find out why they failed, then replay them."
    )
    assert page.evaluate("window.same")
    assert page.locator("details").first.evaluate("it => it.open")
    counts = page.locator("#hour tbody td:nth-child(5)").all_inner_texts()
    assert sum(map(int, counts)) >= dead + 1
    assert page.locator("canvas").count() == 2


def tells_the_last_point(page: Page) -> bool:
    dead = page.locator("#hour tbody tr:last-child td:last-child").text_content()
    said = page.locator(".u-legend").first.inner_text()
    return re.search(rf"received:?\s*\d.*dead:?\s*{dead}$", said, re.DOTALL) is not None


def test_without_a_pointer_the_legend_shows_the_last_point(page: Page, ops_engine: Engine) -> None:
    page.goto("/ops/")
    expect(page.locator(".u-legend")).to_have_count(2)
    until(lambda: tells_the_last_point(page), "the legend shows the last point")
    dead = int(figure(page, "Dead"))
    mark_dead(ops_engine, answers("sci-unit-of-force"), "SomeError at shared/replay.py:1")
    expect(page.locator(".figures")).to_contain_text(re.compile(rf"Dead\s*{dead + 1}"))
    until(lambda: tells_the_last_point(page), "the legend is renewed with the plot")


def test_with_a_pointer_the_legend_shows_that_point(page: Page) -> None:
    page.goto("/ops/")
    page.get_by_label("Live").uncheck()
    page.locator(".u-over").first.hover(position={"x": 1, "y": 50})
    first = page.locator("#hour tbody th").first.text_content() or ""
    expect(page.locator(".u-legend").first).to_contain_text(first)


def test_it_can_be_paused(page: Page) -> None:
    page.clock.install(time=0)
    page.clock.pause_at(1)
    page.goto("/ops/")
    page.wait_for_load_state("networkidle")
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url))
    page.get_by_label("Live").uncheck()
    page.clock.run_for(60_000)
    page.get_by_label("Live").check()
    with page.expect_request("**"):
        page.clock.run_for(6_000)
    assert len(polls) == 1, "that of the time in which it was not paused"
