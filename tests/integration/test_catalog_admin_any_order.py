"""Editions are published and corrected, and uploads of old and new ones arrive, in any order."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from shared.config import StoreSettings
from shared.db import make_engine
from shared.live.sessions import COUNTS
from shared.models import PublishedItem, StudyQuestionAttempt, StudyQuizSession
from shared.study.finalize import verify
from shared.study.grading import grade
from tests.factories import (
    CATALOG,
    RIGHT,
    WRONG,
    ZONES,
    forget,
    ingest,
    load,
    progress,
    question,
    rows,
    standing,
)
from tests.strategies import FIRST_DAY, uploads

Step = tuple[str, Any]
# Keys are forced to these two: an answer is right under one and wrong under the other.
KEYS = (RIGHT, WRONG)
EDITIONS = {
    f"{name}{learner}{number}": 100 * learner + number
    for learner in ZONES
    for name, number in (("q", 10), ("second", 10), ("new", 10), ("q", 11))
}


@pytest.fixture
def pooled(database_url: str) -> Iterator[Engine]:
    engine = make_engine(StoreSettings(database_url=database_url))
    yield engine
    engine.dispose()


def edition(pub_id: str, key: int) -> dict[str, Any]:
    """Describe an edition; the third of a question was published on the second day."""
    described = question(EDITIONS[pub_id], pub_id, correct_choice=key)
    published_at = FIRST_DAY.replace(day=FIRST_DAY.day + 1).isoformat()
    return described | ({"published_at": published_at} if pub_id.startswith("new") else {})


def publish(engine: Engine, keys: dict[str, int]) -> None:
    load(engine, {"questions": [edition(pub_id, key) for pub_id, key in keys.items()]}, force=True)


def start(engine: Engine) -> None:
    """Begin with the catalog as it was first: without the third editions."""
    forget(engine)
    with engine.begin() as connection:
        connection.execute(delete(PublishedItem).where(PublishedItem.pub_id.startswith("new")))
    load(engine, CATALOG, force=True)
    publish(engine, {pub_id: RIGHT for pub_id in EDITIONS if not pub_id.startswith("new")})


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[Step]]:
    """Make uploads, and their arrivals among publications and corrections of keys.

    An edition is published before an upload that names it arrives.
    """
    sent = draw(uploads())
    corrections = draw(
        st.lists(st.tuples(st.sampled_from(sorted(EDITIONS)), st.sampled_from(KEYS)), max_size=4)
    )
    steps: list[Step] = [("arrives", each) for each in sent] + [("corrected", each) for each in corrections]
    steps = draw(st.permutations(steps))
    named = [
        any(part["pub_id"].startswith("new") for part in what["attempts"])
        if step == "arrives"
        else what[0].startswith("new")
        for step, what in steps
    ]
    latest = named.index(True) if True in named else len(steps)
    place = draw(st.integers(0, latest))
    new = [pub_id for pub_id in EDITIONS if pub_id.startswith("new")]
    published: Step = ("published", {pub_id: draw(st.sampled_from(KEYS)) for pub_id in new})
    return sent, [*steps[:place], published, *steps[place:]]


@pytest.mark.timeout(3600)  # for the profile `long`
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every example forgets the last
@given(made=interleaved())
def test_I3_each_attempt_is_graded_by_its_edition_whatever_was_published_when(
    pooled: Engine, made: tuple[list[dict[str, Any]], list[Step]]
) -> None:
    sent, steps = made
    start(pooled)
    for step, what in steps:
        if step == "arrives":
            ingest(pooled, what)
        else:
            publish(pooled, what if step == "published" else dict([what]))

    keys = {row["pub_id"]: row["correct_choice"] for row in rows(pooled, PublishedItem)}
    for attempt in rows(pooled, StudyQuestionAttempt):
        graded = grade(attempt["selected"], unsure=attempt["unsure"], correct_choice=keys[attempt["pub_id"]])
        assert (attempt["outcome"], attempt["rating"]) == graded
    assert not any(checked.differing for checked in verify(pooled))
    counts = {row["id"]: [row[name] for name in COUNTS] for row in rows(pooled, StudyQuizSession)}
    for each in sent:
        topics = (standing(pooled, each).result or {"topics": []})["topics"]
        assert all([topic[name] for name in COUNTS] == counts[topic["session_id"]] for topic in topics)

    known = progress(pooled)
    forget(pooled)
    for each in sent:
        ingest(pooled, each)
    assert progress(pooled) == known
