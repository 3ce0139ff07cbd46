"""What senders and catalogs wrote is shown as text: no page runs a word of it."""

import pytest
from playwright.sync_api import Page
from sqlalchemy import Engine, text

from tests.ops_factories import HOSTILE, VICTIM

ATTACKS = text("SELECT client_session_uuid FROM uploads WHERE CAST(payload AS text) LIKE '%window.hit%'")
PAGES = [
    "/ops/",
    "/ops/uploads",
    "/ops/uploads?status=dead",
    f"/ops/learners/{VICTIM}",
    "/ops/conflicts",
    "/ops/learners",
]


def watched(page: Page) -> list[str]:
    """Note whatever the browser refuses or fails at."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    return said


def unharmed(page: Page) -> bool:
    return not page.evaluate("'hit' in window") and "1337" not in page.content()


@pytest.mark.parametrize("path", PAGES)
def test_no_page_runs_what_is_stored(page: Page, path: str) -> None:
    said = watched(page)
    page.goto(path)
    page.wait_for_load_state("networkidle")
    assert unharmed(page)
    assert said == []


def test_no_upload_runs_what_it_brought(page: Page, ops_engine: Engine) -> None:
    said = watched(page)
    with ops_engine.connect() as connection:
        query = text(
            "SELECT client_session_uuid FROM uploads WHERE CAST(payload AS text) LIKE '%window.hit%'"
        )
        uuids = connection.scalars(query).all()
    assert len(uuids) == 4
    shown = ""
    for uuid in uuids:
        page.goto(f"/ops/uploads/{uuid}")
        assert unharmed(page)
        shown += page.inner_text("main")
        page.get_by_role("button", name="Show the payload").click()
        assert unharmed(page)
        for question in ("replay", "void", "unvoid"):
            page.goto(f"/ops/uploads/{uuid}/{question}")
            assert unharmed(page)
    assert shown.count(HOSTILE) >= 6
    assert said == []


def test_a_search_runs_nothing_that_was_typed(page: Page) -> None:
    for field in ("uuid", "learner", "question", "error", "status", "after"):
        page.goto("/ops/uploads")
        page.evaluate(
            "([name, value]) => { location.search = new URLSearchParams({ [name]: value }) }",
            [field, HOSTILE],
        )
        page.wait_for_url(f"**{field}=**")
        assert unharmed(page)


def test_the_learner_page_shows_subject_topic_and_question_as_text(page: Page) -> None:
    page.goto(f"/ops/learners/{VICTIM}")
    assert page.inner_text("main").count(HOSTILE) >= 4
