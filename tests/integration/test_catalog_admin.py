"""Loading a catalog: again changes nothing, and what progress stands on changes only on demand."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, Engine, TextClause, text

from cli.main import main
from shared import catalog_admin
from shared.catalog_admin import PART, compare, load_catalog, split
from shared.catalog_form import EditionChange
from shared.errors import CatalogError
from shared.learners import delete_learner
from shared.live.forms import Submission
from shared.live.sessions import submit
from shared.models import PublishedItem, StudyQuestion, StudyTopic, User
from shared.study.store import lock_learner
from tests.factories import (
    ANN,
    BEN,
    CHO,
    DEFAULT_ZONE,
    NOW,
    RIGHT,
    answer,
    begin_session,
    everything,
    ingest,
    load,
    question,
    read,
    rows,
    upload,
)
from tests.race import wait_until_blocked

AT = "2026-11-20T09:00:00Z"
OWNER = question(110, user_id=BEN, study_topic_id=21)
OTHER_KEY = question(110, correct_choice=0)
OTHER_TEXTS = question(110, choices=["a", "B", "c", "d"])
OTHER_ORDER = question(110, choices=["b", "a", "c", "d"])
KEY_FOLLOWS = question(110, choices=["b", "a", "c", "d"], correct_choice=0)
OTHER_QUESTION = question(111, "q110")


def only(*questions: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {"questions": list(questions)}


def editions(engine: Engine) -> dict[str, dict[str, Any]]:
    return {row["pub_id"]: row for row in rows(engine, PublishedItem)}


def test_it_fills_the_tables(engine: Engine) -> None:
    assert load(engine) == []
    assert [row["time_zone"] for row in rows(engine, User)] == [None, "America/New_York", "Asia/Seoul"]
    assert len(rows(engine, StudyTopic)) == 6
    assert len(rows(engine, StudyQuestion)) == 9
    assert editions(engine)["second110"] == {
        "pub_id": "second110",
        "source_id": 110,
        "choices": ["a", "b", "c", "d"],
        "correct_choice": RIGHT,
        "published_at": None,
    }


def test_loading_again_writes_nothing(engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT), answer("q120", AT)))
    versions = text("""
        SELECT pub_id AS name, CAST(xmin AS text) FROM published_items
        UNION ALL SELECT 'question ' || id, CAST(xmin AS text) FROM study_questions
        UNION ALL SELECT 'topic ' || id, CAST(xmin AS text) FROM study_topics
        UNION ALL SELECT 'learner ' || id, CAST(xmin AS text) FROM users ORDER BY name
    """)
    before = everything(engine)
    for force in (False, True):
        with engine.begin() as connection:
            written = connection.execute(versions).all()
        assert load(engine, force=force) == []
        with engine.begin() as connection:
            assert connection.execute(versions).all() == written
    assert everything(engine) == before


@pytest.mark.parametrize(
    ("change", "changes", "verdict"),
    [
        (OWNER, ("owner",), "owner changed; 2 attempts of 1 learners keep their outcomes"),
        (OTHER_KEY, ("key",), "key changed; 2 attempts of 1 learners are graded again"),
        (OTHER_TEXTS, ("texts",), "texts changed; 2 attempts of 1 learners keep their outcomes"),
        (OTHER_ORDER, ("order",), "order changed; 2 attempts of 1 learners keep their outcomes"),
        (KEY_FOLLOWS, ("order", "key"), "order and key changed; 2 attempts of 1 learners could no longer"),
        (OTHER_QUESTION, ("question",), "question changed; 2 attempts of 1 learners could no longer be"),
    ],
)
def test_what_was_answered_is_not_changed_without_force(
    engine: Engine, change: dict[str, Any], changes: tuple[str, ...], verdict: str
) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT), answer("q110", AT)))
    before = everything(engine)
    with engine.connect() as connection:
        shown = compare(connection, read(only(change)))
    assert EditionChange("q110", changes, 2, 1) in shown
    with pytest.raises(CatalogError, match=f"(?s)^q110: {verdict}.*\nuse --force"):
        load(engine, only(question(119), change))
    assert everything(engine) == before


@pytest.mark.parametrize("change", [KEY_FOLLOWS, OTHER_QUESTION])
def test_what_would_make_answers_unreadable_is_refused_even_by_force(
    engine: Engine, change: dict[str, Any]
) -> None:
    """Choices in another order, with the key moved along, are another edition: never the same pub_id."""
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    before = everything(engine)
    with pytest.raises(CatalogError, match="publish a new edition"):
        load(engine, only(change), force=True)
    assert everything(engine) == before


@pytest.mark.parametrize("change", [OWNER, OTHER_KEY, OTHER_TEXTS, KEY_FOLLOWS, OTHER_QUESTION])
def test_what_was_never_answered_needs_no_force(engine: Engine, change: dict[str, Any]) -> None:
    load(engine)
    (shown, *_) = load(engine, only(change))
    assert str(shown).endswith("; never answered")
    row = editions(engine)["q110"]
    assert (row["source_id"], row["choices"], row["correct_choice"]) == (
        change["id"],
        change["choices"],
        change["correct_choice"],
    )


def test_what_is_no_editions_needs_no_force(engine: Engine) -> None:
    load(engine)
    ingest(engine, upload(answer("q110", AT)))
    exam = {"topics": [{"id": 12, "user_id": ANN, "name": "t", "exam_on": "2027-02-01"}]}
    retired = "2026-11-01T00:00:00Z"
    assert (
        load(engine, exam | only(question(110, subject="new", study_topic_id=12, retired_at=retired))) == []
    )
    (row,) = (row for row in rows(engine, StudyQuestion) if row["id"] == 110)
    assert (row["subject"], row["study_topic_id"]) == ("new", 12)
    assert row["retired_at"] is not None


def test_I12_a_load_waits_for_no_learner_whom_it_does_not_concern(engine: Engine) -> None:
    load(engine)
    with engine.begin() as other:
        lock_learner(other, BEN)
        (change,) = load(engine, {"users": [{"id": BEN}], **only(question(210), OTHER_KEY, question(119))})
    assert change.pub_id == "q110"


def test_I12_a_load_waits_for_no_learner_whose_keys_and_owners_stay(engine: Engine) -> None:
    load(engine)
    with engine.begin() as other:
        lock_learner(other, ANN)
        lock_learner(other, BEN)
        reordered = question(111, choices=["b", "a", "c", "d"])
        shown = load(engine, only(OTHER_TEXTS, reordered, question(219)))
    assert [(each.pub_id, each.changes) for each in shown] == [("q110", ("texts",)), ("q111", ("order",))]


def test_I12_a_long_load_locks_few_learners_at_a_time(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """A key of Ben's changes, too, and Ben is busy: no other learner is locked while the load waits."""
    many = [question(1_100_000 + n, user_id=ANN, study_topic_id=11) for n in range(PART)]
    load(engine)
    load(engine, only(*many))
    file = tmp_path / "catalog.json"
    keys = [each | {"correct_choice": 0} for each in (question(210), *many, question(110), question(310))]
    file.write_text(json.dumps(only(*keys)))
    command = ["catalog", "load", str(file)]
    with ThreadPoolExecutor(1) as pool, engine.begin() as busy:
        lock_learner(busy, BEN)
        loading = pool.submit(CliRunner().invoke, main, command, env={"DATABASE_URL": database_url})
        wait_until_blocked(engine, loading)
        assert not loading.done()
        with engine.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '1s'"))
            lock_learner(other, ANN)
        busy.rollback()
    assert loading.result().exit_code == 0, loading.result().output
    written = editions(engine)
    assert {written[each["pub_id"]]["correct_choice"] for each in keys} == {0}


def test_I12_a_load_and_a_session_in_a_topic_that_it_changes_do_not_wait_for_each_other(
    engine: Engine,
) -> None:
    load(engine)
    patience = text("SET LOCAL lock_timeout = '1s'")
    exam = {"topics": [{"id": 11, "user_id": ANN, "name": "t", "exam_on": "2027-02-01"}]}
    with engine.begin() as loading:
        loading.execute(patience)
        load_catalog(loading, read(exam))
        with engine.begin() as starting:
            starting.execute(patience)
            starting.execute(
                text("""
                    INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids)
                    VALUES (1, 11, '[]')
                """)
            )


def test_I12_a_learner_is_deleted_during_a_load_of_others(engine: Engine) -> None:
    load(engine)
    with engine.begin() as loading, engine.begin() as deleting:
        load_catalog(loading, read(only(OTHER_KEY, question(119))))
        deleting.execute(text("SET LOCAL lock_timeout = '1s'"))
        delete_learner(deleting, BEN)
    assert [row["id"] for row in rows(engine, User)] == [ANN, CHO]


def test_entries_that_are_equal_are_one(engine: Engine) -> None:
    new = {
        "users": [{"id": 9}],
        "topics": [{"id": 91, "user_id": 9, "name": "t"}],
        "questions": [question(910, study_topic_id=91, user_id=9)],
    }
    twice = {name: each * 2 for name, each in new.items()} | {"questions": new["questions"]}
    load(engine, twice)
    assert [row["id"] for row in rows(engine, User)] == [9]


def test_a_part_of_the_catalog_says_nothing_of_the_rest(engine: Engine) -> None:
    load(engine)
    before = everything(engine)
    load(engine, {"users": [{"id": BEN}, {"id": BEN}]})  # and without a time zone, nothing of that either
    assert everything(engine) == before


def dated(pub_id: str, published_at: str | None) -> dict[str, Any]:
    return {"pub_id": pub_id, "choices": ["a", "b"], "correct_choice": 0, "published_at": published_at}


@pytest.mark.parametrize(
    ("published", "current"),
    [
        ([dated("a", None)], "a"),
        ([dated("b", None), dated("a", None)], "a"),
        ([dated("a", None), dated("b", "2020-01-01T00:00:00Z")], "b"),
        ([dated("a", "2020-01-01T00:00:00Z"), dated("b", "2021-01-01T00:00:00Z")], "b"),
        ([dated("b", "2020-01-01T00:00:00Z"), dated("B", "2020-01-01T00:00:00Z")], "B"),
        ([dated("a", None), dated("b", "2999-01-01T00:00:00Z")], "a"),  # not out yet
        ([dated("b", "2999-01-01T00:00:00Z")], None),
    ],
)
def test_the_current_edition_is_the_newest_that_is_out(
    engine: Engine, published: list[dict[str, Any]], current: str | None
) -> None:
    load(engine)
    described = question(118)
    for name in ("pub_id", "choices", "correct_choice"):
        del described[name]
    load(engine, only(described | {"editions": published}))
    asked = text("SELECT pub_id FROM current_editions WHERE source_id = 118")
    with engine.connect() as connection:
        assert connection.scalar(asked) == current


CONTRADICTIONS: list[tuple[str, dict[str, list[dict[str, Any]]]]] = [
    ("topic 11: the owner of a topic cannot change", {"topics": [{"id": 11, "user_id": BEN, "name": "t"}]}),
    ("topic 41: learner 4 is unknown", {"topics": [{"id": 41, "user_id": 4, "name": "t"}]}),
    ("question 119: topic 21 is not a topic of learner 1", only(question(119, study_topic_id=21))),
    ("question 119: topic 99 is not a topic of learner 1", only(question(119, study_topic_id=99))),
    ("question 110: has two entries that differ", only(question(110), question(110, "x", subject="?"))),
    ("x: appears more than once", only(question(118, "x"), question(119, "x"))),
    ("learner 4: appears more than once", {"users": [{"id": 4}, {"id": 4, "time_zone": "Asia/Seoul"}]}),
    (
        "topic 19: appears more than once",
        {"topics": [{"id": 19, "user_id": n, "name": "t"} for n in (ANN, BEN)]},
    ),
]


def test_a_contradiction_is_reported_and_changes_nothing_even_by_force(engine: Engine) -> None:
    load(engine)
    before = everything(engine)
    for message, catalog in CONTRADICTIONS:
        for force in (False, True):
            with pytest.raises(CatalogError, match=f"^{message}"):
                load(engine, catalog, force=force)
    assert everything(engine) == before


def test_I12_a_busy_learner_who_gets_a_question_delays_no_other_who_gets_one(engine: Engine) -> None:
    load(engine)
    moves = only(question(110, user_id=BEN, study_topic_id=21), question(111, user_id=CHO, study_topic_id=31))
    with engine.connect() as connection:
        parts = split(connection, read(moves))
    assert [{each.user_id for each in part.questions} for part in parts] == [{BEN}, {CHO}]


def test_an_answer_that_comes_while_choices_are_compared_is_seen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(engine)
    begin_session(engine, ANN, 11, 110)
    read_rows = catalog_admin._rows  # noqa: SLF001  # the answer comes between two statements

    def submit_after(connection: Connection, statement: TextClause, **named: Any) -> dict[Any, Any]:
        found = read_rows(connection, statement, **named)
        if "study_question_attempts" in statement.text:
            monkeypatch.undo()
            given = Submission(pub_id="q110", selected=1, unsure=False)
            with engine.begin() as other:
                submit(other, ANN, 1, given, now=NOW, default_zone=DEFAULT_ZONE)
        return found

    monkeypatch.setattr(catalog_admin, "_rows", submit_after)
    with engine.connect() as connection:
        (change,) = compare(connection, read(only(OTHER_ORDER)))
    assert (change.attempts, change.asked) == (1, 1)
