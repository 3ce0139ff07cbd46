"""Learners are found by what an operator may know of them."""

import re
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import Engine

from tests.clients import log_in
from tests.factories import answer, ingest, load, upload

AT = "2026-11-20T09:00:00Z"


@pytest.fixture
def operator(engine: Engine, web: httpx.Client) -> httpx.Client:
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    log_in(web)
    return web


def found(operator: httpx.Client, typed: str) -> list[int]:
    """Search; return the ids of the learners listed, or of the one whose page is shown."""
    page = operator.get(f"/ops/learners?learner={quote(typed)}")
    if page.status_code == 303:
        return [int(page.headers["Location"].removeprefix("/ops/learners/"))]
    assert page.status_code == 200
    return [int(id_) for id_ in re.findall(r'"row"><a href="/ops/learners/(\d+)"', page.text)]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", [1, 2, 3]),
        ("2", [2]),
        ("seoul", [3]),
        ("Topic 1", [1, 2, 3]),
        ("second310", [3]),
        ("%", []),
        ("9" * 400, []),
        ("\0", []),
        ("<b>", []),
    ],
)
def test_a_search_lists_who_matches(operator: httpx.Client, typed: str, expected: list[int]) -> None:
    assert found(operator, typed) == expected


def test_the_list_shows_what_each_has_answered(operator: httpx.Client) -> None:
    page = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", operator.get("/ops/learners").text))
    assert "1 - topic 1, topic 2 1 2026-11-20 09:00" in page
    assert "3 Asia/Seoul topic 1, topic 2 0 -" in page
