"""Every page is usable by everybody: judged by axe, by the keyboard alone, and on a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from sqlalchemy import Engine

from shared.ops.actions import void_upload
from tests.ops_factories import LONG, SAMPLE, VICTIM, answers, contradict, ingest, mark_dead

PAGES = [
    "/ops/",
    "/ops/uploads",
    "/ops/uploads?status=dead",
    "/ops/conflicts",
    "/ops/learners",
    f"/ops/learners/{SAMPLE}",
    f"/ops/learners/{VICTIM}",
    "/ops/nowhere",
]
GRAVE = {"serious", "critical"}


NARROW = 320  # px, as WCAG 1.4.10 asks


def pages_of_uploads(engine: Engine) -> list[str]:
    """Name the pages of an upload of each kind, and of the questions that they ask."""
    ingested = ingest(engine, answers("sci-unit-of-force", "sci-unit-of-resistance", "nobody's"))
    dead = mark_dead(engine, answers("sci-unit-of-force"), "SomeError at shared/replay.py:1")
    long = ingest(engine, answers(LONG, f"{LONG[:190]}unknown"))
    with engine.begin() as connection:
        void_upload(connection, long, reason=LONG)
    spoilt = mark_dead(engine, answers(LONG), f"{LONG}{LONG}")
    asked = [
        f"/ops/uploads/{long}",
        f"/ops/uploads/{spoilt}",
        f"/ops/uploads/{spoilt}/replay",
        f"/ops/uploads?question={LONG}&error={LONG}",
        f"/ops/learners/{VICTIM}?question={LONG}",
        f"/ops/uploads/{ingested}/void",
        f"/ops/uploads/{ingested}/unvoid",
        f"/ops/uploads/{ingested}/clock?shift=-1h",
        f"/ops/uploads/{dead}/replay",
    ]
    conflict = f"/ops/conflicts/{contradict(engine)}"
    asked += ["/ops/uploads/replay?status=dead", conflict, f"{conflict}/discard"]
    return [f"/ops/uploads/{ingested}", f"/ops/uploads/{dead}", *asked, "/ops/uploads?uuid=none&learner=x"]


def faults(page: Page) -> list[str]:
    return [
        f"{each['id']}: {node['html']}"
        for each in Axe().run(page).response["violations"]
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_grave_fault_in_light_or_dark(page: Page, path: str) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(path)
        assert (scheme, faults(page)) == (scheme, [])


def test_axe_finds_no_grave_fault_in_the_login(browser: Browser, ops_url: str) -> None:
    for scheme in ("light", "dark"):
        with browser.new_context(base_url=ops_url, color_scheme=scheme) as stranger:
            page = stranger.new_page()
            page.goto("/ops/")
            assert page.get_by_label("Password").evaluate("it => it === document.activeElement")
            assert (scheme, faults(page)) == (scheme, [])


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_need_not_scroll_sideways(page: Page, path: str) -> None:
    page.set_viewport_size({"width": NARROW, "height": 740})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW


def test_the_pages_of_uploads_are_as_good(page: Page, ops_engine: Engine) -> None:
    for path in pages_of_uploads(ops_engine):
        page.set_viewport_size({"width": 1280, "height": 800})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.goto(path)
            assert (path, scheme, faults(page)) == (path, scheme, [])
        page.set_viewport_size({"width": NARROW, "height": 740})
        assert (path, page.evaluate("document.documentElement.scrollWidth") <= NARROW) == (path, True)
