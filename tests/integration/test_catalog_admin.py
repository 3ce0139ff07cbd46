"""Loading a catalog: again changes nothing, and what progress stands on changes only on demand."""

from typing import Any

import pytest
from sqlalchemy import Engine

from shared.errors import CatalogError
from shared.models import PublishedItem, StudyQuestion, StudyTopic, User
from tests.factories import ANN, BEN, answer, everything, ingest, load, question, rows, upload

AT = "2026-11-20T09:00:00Z"
OWNER = question(110, user_id=BEN, study_topic_id=21)
OTHER_CHOICE = question(110, correct_choice=0)
OTHER_QUESTION = question(111, "q110")


def only(*questions: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {"questions": list(questions)}


def test_it_fills_the_tables(engine: Engine) -> None:
    change = load(engine)
    assert (change.rewrites, change.regraded, change.rezoned) == ([], [], [])
    assert [row["time_zone"] for row in rows(engine, User)] == [None, "America/New_York", "Asia/Seoul"]
    assert len(rows(engine, StudyTopic)) == 6
    assert len(rows(engine, StudyQuestion)) == 9
    assert {row["pub_id"]: row["source_id"] for row in rows(engine, PublishedItem)}["twin110"] == 110


def test_loading_again_changes_nothing(engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT), answer("q120", AT)))
    before = everything(engine)
    for force in (False, True):
        change = load(engine, force=force)
        assert (change.rewrites, change.regraded, change.rezoned) == ([], [], [])
    assert everything(engine) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (OWNER, "q110: its owner would change"),
        (OTHER_CHOICE, "q110: its right choice would change"),
        (OTHER_QUESTION, "q110: it would name another question"),
    ],
)
def test_what_progress_stands_on_is_not_changed_without_force(
    engine: Engine, change: dict[str, Any], told: str
) -> None:
    load(engine)
    before = everything(engine)
    with pytest.raises(CatalogError, match=f"^{told}\nuse --force"):
        load(engine, only(question(119), change))
    assert everything(engine) == before


def test_other_words_and_another_topic_of_its_owner_need_no_force(engine: Engine) -> None:
    load(engine)
    retired = "2026-11-01T00:00:00Z"
    changes: dict[str, Any] = {
        "choices": ["w", "x", "y"],
        "subject": "new",
        "study_topic_id": 12,
        "retired_at": retired,
    }
    load(engine, only(question(110, **changes)))
    (row,) = (row for row in rows(engine, StudyQuestion) if row["id"] == 110)
    assert (row["choices"], row["subject"], row["study_topic_id"]) == (["w", "x", "y"], "new", 12)
    assert row["retired_at"] is not None


def test_a_part_of_the_catalog_says_nothing_of_the_rest(engine: Engine) -> None:
    load(engine)
    before = everything(engine)
    load(engine, {"users": [{"id": BEN}]})  # and without a time zone, nothing of that either
    assert everything(engine) == before


CONTRADICTIONS: list[tuple[str, dict[str, list[dict[str, Any]]]]] = [
    ("topic 11: a topic never changes its owner", {"topics": [{"id": 11, "user_id": BEN, "name": "t"}]}),
    ("topic 41: learner 4 is unknown", {"topics": [{"id": 41, "user_id": 4, "name": "t"}]}),
    ("q119: topic 21 is no topic of learner 1", only(question(119, study_topic_id=21))),
    ("q119: topic 99 is no topic of learner 1", only(question(119, study_topic_id=99))),
    ("x: differs from q110, which names the same", only(question(110), question(110, "x", subject="?"))),
    ("x: named twice", only(question(118, "x"), question(119, "x"))),
    ("learner 4: named twice", {"users": [{"id": 4}, {"id": 4, "time_zone": "Asia/Seoul"}]}),
    ("topic 19: named twice", {"topics": [{"id": 19, "user_id": n, "name": "t"} for n in (ANN, BEN)]}),
]


def test_a_contradiction_is_told_and_changes_nothing_even_by_force(engine: Engine) -> None:
    load(engine)
    before = everything(engine)
    for told, catalog in CONTRADICTIONS:
        for force in (False, True):
            with pytest.raises(CatalogError, match=f"^{told}"):
                load(engine, catalog, force=force)
    assert everything(engine) == before
