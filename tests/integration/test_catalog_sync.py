"""A catalog and the tables that hold it have the same digests; what is withdrawn keeps its past."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from shared import catalog_digest, catalog_sync
from shared.errors import CatalogError
from shared.models import StudyQuestion, StudyQuestionAttempt
from tests.factories import (
    ANN,
    BEN,
    CATALOG,
    answer,
    begin_session,
    ingest,
    load,
    question,
    read,
    rows,
    sound,
    upload,
)

NOW = datetime(2026, 11, 20, tzinfo=UTC)
AT = "2026-11-19T09:00:00Z"
TOPIC = 11

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # given


@st.composite
def catalogs(draw: st.DrawFn) -> dict[str, Any]:
    """Make topics of one learner whose texts, numbers and times are hard to write in one way."""
    topics, questions = draw(st.integers(1, 3)), draw(st.integers(0, 4))
    return {
        "users": [{"id": 1}],
        "topics": [
            {
                "id": n,
                "user_id": 1,
                "name": draw(words),
                "exam_on": draw(st.none() | st.dates().map(lambda day: day.isoformat())),
            }
            for n in range(1, 1 + topics)
        ],
        "questions": [
            {
                "id": number,
                "user_id": 1,
                "study_topic_id": draw(st.integers(1, topics)),
                "subject": draw(words),
                "exam_frequency": draw(st.none() | st.floats(0, 1e9)),
                "retired_at": draw(st.none() | moments.map(lambda moment: moment.isoformat())),
                "editions": [
                    {
                        "pub_id": f"{draw(st.sampled_from('aäZ🂡'))}{number}-{edition}",
                        "choices": draw(st.lists(words, min_size=2, max_size=3)),
                        "correct_choice": draw(st.integers(0, 1)),
                        "published_at": draw(st.none() | moments.map(lambda moment: moment.isoformat())),
                    }
                    for edition in range(draw(st.integers(1, 2)))
                ],
            }
            for number in range(1, 1 + questions)
        ],
    }


def stored(engine: Engine, now: datetime = NOW) -> dict[int, catalog_digest.Digest]:
    with engine.begin() as connection:
        found = catalog_sync.digests_after(connection, 0, limit=1000, now=now)
    return {each.topic_id: each for each in found}


def digests(catalog: Mapping[str, Any]) -> dict[int, catalog_digest.Digest]:
    """Return the digests of a catalog that is read in parts, the last question first."""
    index = catalog_digest.Index(now=NOW)
    for each in reversed(catalog["questions"]):
        index.add(read({"questions": [each]}))
    index.add(read({"topics": catalog["topics"]}))
    return {each.topic_id: each for each in index.digests()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every example deletes the last
@given(catalog=catalogs())
def test_a_catalog_has_the_digests_of_the_tables_that_hold_it(
    pooled: Engine, catalog: dict[str, Any]
) -> None:
    with pooled.begin() as connection:
        connection.execute(text("DELETE FROM users"))
    load(pooled, catalog)
    assert stored(pooled) == digests(catalog)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "another"},
        {"exam_frequency": 0.25},
        {"retired_at": "2026-01-01T00:00:00Z"},
        {"correct_choice": 0},
        {"choices": ["a", "b", "c", "other"]},
        {"published_at": "2026-01-01T00:00:00Z"},
        {"pub_id": "another"},
    ],
)
def test_each_change_shows_in_the_digest_of_its_topic_alone(engine: Engine, change: dict[str, Any]) -> None:
    load(engine)
    questions = [each | change if each["pub_id"] == "q111" else each for each in CATALOG["questions"]]
    changed = {**CATALOG, "questions": questions}
    theirs = digests(changed)
    assert {topic for topic, digest in stored(engine).items() if theirs[topic] != digest} == {TOPIC}


def test_a_frequency_of_minus_zero_is_zero(engine: Engine) -> None:
    zero, minus = (CATALOG | {"questions": [question(110, exam_frequency=each)]} for each in (0.0, -0.0))
    load(engine, minus)
    assert digests(minus) == digests(zero) == stored(engine)


def test_digests_are_paged(engine: Engine) -> None:
    load(engine)
    pages, after = [], 0
    while True:
        with engine.begin() as connection:
            page = catalog_sync.digests_after(connection, after, limit=2, now=NOW)
        if not page:
            break
        pages += page
        after = page[-1].topic_id
    assert {each.topic_id: each for each in pages} == stored(engine)


def test_a_topic_with_two_entries_that_differ_is_refused() -> None:
    index = catalog_digest.Index(now=NOW)
    first, *_ = CATALOG["topics"]
    index.add(read({"topics": [first, first]}))
    with pytest.raises(CatalogError, match="topic 11: has two entries that differ"):
        index.add(read({"topics": [first | {"name": "another"}]}))


def withdraw(engine: Engine, *questions: int) -> catalog_sync.Withdrawn:
    with engine.begin() as connection:
        return catalog_sync.withdraw(connection, list(questions), now=NOW)


def test_an_answered_question_is_retired_and_others_are_deleted(engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    assert withdraw(engine, 110, 111, 999) == (1, 1)
    kept = {row["id"]: row["retired_at"] for row in rows(engine, StudyQuestion)}
    assert kept[110] == NOW
    assert 111 not in kept
    assert len(rows(engine, StudyQuestionAttempt)) == 1
    assert sound(engine)
    assert withdraw(engine, 110, 111) == (0, 0)
    assert stored(engine)[TOPIC].questions == 0


def test_a_question_that_is_retired_later_is_retired_now(engine: Engine) -> None:
    later = (NOW + timedelta(days=9)).isoformat()
    load(engine)
    load(engine, {"questions": [question | {"retired_at": later} for question in CATALOG["questions"][:1]]})
    ingest(engine, upload(answer("q110", AT)))
    assert withdraw(engine, 110) == (0, 1)


def test_a_question_that_is_asked_is_retired_also_in_another_topic(engine: Engine) -> None:
    load(engine)
    begin_session(engine, ANN, TOPIC, 110)
    load(engine, {"questions": [question(110, study_topic_id=TOPIC + 1)]})
    assert withdraw(engine, 110) == (0, 1)


def test_a_question_that_its_former_owner_is_asked_is_retired(engine: Engine) -> None:
    load(engine)
    begin_session(engine, ANN, TOPIC, 110)
    load(engine, {"questions": [question(110, user_id=BEN, study_topic_id=21)]})
    assert withdraw(engine, 110, 210) == (1, 1)


def test_a_topic_that_was_studied_stays_and_another_goes(engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    with engine.begin() as connection:
        assert catalog_sync.withdraw_topic(connection, TOPIC, now=NOW) == (1, 1)
        assert catalog_sync.withdraw_topic(connection, TOPIC + 1, now=NOW) == (1, 0)
    assert {topic for topic in stored(engine) if topic // 10 == ANN} == {TOPIC}
