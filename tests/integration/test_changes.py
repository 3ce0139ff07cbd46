"""A reader that follows the changes ends with the tables' progress, however slow writers are."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from shared import changes
from shared.catalog_admin import regrade
from shared.config import StoreSettings
from shared.db import make_engine
from shared.errors import UnknownCursorError
from shared.learners import delete_learner
from shared.models import PublishedItem, StudyQuestionProgress
from shared.ops.actions import unvoid_upload, void_upload
from shared.replay import replay
from shared.study.store import lock_learner
from tests.factories import (
    ANN,
    DEFAULT_ZONE,
    NOW,
    RIGHT,
    WRONG,
    ZONES,
    answer,
    deliver,
    forget,
    ingest,
    load,
    rows,
    upload,
    uuid_of,
)

SENT_AT = "2026-11-20T09:00:00Z"
NOT_SHOWN = {"updated_at", "changed_xid", "scheduler"}
Copy = dict[int, dict[int, dict[str, Any]]]


@pytest.fixture
def pooled(database_url: str) -> Iterator[Engine]:
    engine = make_engine(StoreSettings(database_url=database_url), pool_size=len(ZONES) + 1)
    load(engine)
    yield engine
    engine.dispose()


class Reader:
    """A document server that keeps a copy: by learner and question."""

    def __init__(self, engine: Engine, limit: int) -> None:
        self.engine = engine
        self.limit = limit
        self.cursor = changes.Cursor()
        self.copy: Copy = {}

    def poll(self) -> changes.Changes:
        """Read a page, as it comes over HTTP: the cursor is written and read."""
        with self.engine.begin() as connection:
            page = changes.read_changes(connection, self.cursor, limit=self.limit)
        for learner in page.learners:
            known = self.copy.setdefault(learner["user_id"], {})
            if learner["complete"]:
                known.clear()
            known |= {each["question_id"]: each for each in learner["questions"]}
        self.cursor = changes.Cursor.read(str(page.next))
        return page

    def catch_up(self) -> None:
        """Read until the end of the window that was begun, and then until there is nothing more."""
        while self.cursor.until is not None or self.poll().more:
            self.poll()


def stored(engine: Engine) -> Copy:
    copy: Copy = {}
    for row in rows(engine, StudyQuestionProgress):
        shown = {"question_id": row["study_question_id"]} | row
        copy.setdefault(row["user_id"], {})[row["study_question_id"]] = shown
    return copy


def assert_same(reader: Reader) -> None:
    kept = {learner: questions for learner, questions in reader.copy.items() if questions}
    tables = stored(reader.engine)
    assert kept.keys() == tables.keys()
    for learner, questions in kept.items():
        assert questions.keys() == tables[learner].keys()
        for question, each in questions.items():
            assert each == {name: tables[learner][question][name] for name in each}


def change(connection: Connection, learner: int, kind: str, sent: list[dict[str, Any]], key: int) -> None:
    """Change a learner's progress in one of the ways there are."""
    if kind == "upload":
        replay(connection, [uuid_of(sent.pop())], now=NOW, default_zone=DEFAULT_ZONE)
    elif kind == "regrade":
        lock_learner(connection, learner)
        edition = PublishedItem.__table__
        pub_id = f"q{learner}10"
        connection.execute(edition.update().where(edition.c.pub_id == pub_id).values(correct_choice=key))
        regrade(connection, [pub_id])
    else:
        voided = UUID(int=learner, version=4)
        if kind == "void":
            void_upload(connection, voided, reason="test")
        else:
            unvoid_upload(connection, voided)


def first_upload(learner: int) -> dict[str, Any]:
    """Make the upload that is voided: it alone answers question 20."""
    answers = [answer(f"q{learner}{number}", SENT_AT, RIGHT) for number in (10, 20)]
    return upload(*answers) | {"client_session_uuid": str(UUID(int=learner, version=4))}


KINDS = ["upload", "void", "unvoid", "regrade"]
# A change of a learner, or the end of their transaction; and whether the reader polls after it.
steps = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, "commit", "commit", "commit", "roll back"]),
        st.sampled_from(sorted(ZONES)),
        st.sampled_from([RIGHT, WRONG]),
        st.booleans(),
    ),
    max_size=25,
)
Step = tuple[str, int, int, bool]


def deliver_uploads(engine: Engine, steps: list[Step]) -> dict[int, list[dict[str, Any]]]:
    """Deliver an upload for each step that replays one; return them by learner, the last first."""
    waiting: dict[int, list[dict[str, Any]]] = {learner: [] for learner in ZONES}
    for day, (kind, learner, selected, _) in enumerate(steps):
        if kind == "upload":
            at = f"2026-11-{1 + day:02}T10:00:00Z"
            sent = upload(answer(f"q{learner}10", at, selected), answer(f"q{learner}11", at, selected))
            deliver(engine, sent)
            waiting[learner].insert(0, sent)
    return waiting


def play(reader: Reader, steps: list[Step]) -> None:
    """Take the steps; a learner's transaction stays open until it is committed or rolled back."""
    waiting = deliver_uploads(reader.engine, steps)
    transactions: dict[int, Connection] = {}
    with ExitStack() as opened:
        for kind, learner, key, polls in steps:
            if kind in KINDS:
                if learner not in transactions:
                    transactions[learner] = opened.enter_context(reader.engine.connect())
                change(transactions[learner], learner, kind, waiting[learner], key)
            elif connection := transactions.pop(learner, None):
                (connection.commit if kind == "commit" else connection.rollback)()
                connection.close()
            if polls:
                reader.poll()
        for connection in transactions.values():
            connection.commit()


@pytest.mark.timeout(3600)  # for the profile `long`
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every example forgets the last
@given(steps=steps, limit=st.integers(1, 4))
def test_a_reader_ends_with_the_tables_progress_whatever_commits_when(
    pooled: Engine, steps: list[Step], limit: int
) -> None:
    forget(pooled)
    for learner in ZONES:
        ingest(pooled, first_upload(learner))
    reader = Reader(pooled, limit)
    play(reader, steps)
    reader.catch_up()
    assert_same(reader)


def test_a_change_is_not_passed_over_by_a_faster_one(pooled: Engine) -> None:
    slow, fast = first_upload(1), first_upload(2)
    deliver(pooled, slow)
    reader = Reader(pooled, 10)
    with pooled.connect() as connection:
        replay(connection, [uuid_of(slow)], now=NOW, default_zone=DEFAULT_ZONE)
        ingest(pooled, fast)
        reader.catch_up()
        connection.commit()
    reader.catch_up()
    assert_same(reader)
    assert reader.copy.keys() == {1, 2}


def test_nothing_comes_twice_at_rest(pooled: Engine) -> None:
    ingest(pooled, first_upload(ANN))
    reader = Reader(pooled, 10)
    reader.catch_up()
    assert reader.poll().learners == []
    ingest(pooled, upload(answer("q111", SENT_AT)))
    (learner,) = reader.poll().learners
    assert (learner["user_id"], learner["complete"]) == (ANN, False)
    assert [each["question_id"] for each in learner["questions"]] == [111]


def test_a_deleted_learner_is_a_change(pooled: Engine) -> None:
    ingest(pooled, first_upload(ANN))
    reader = Reader(pooled, 10)
    reader.catch_up()
    with pooled.begin() as connection:
        delete_learner(connection, ANN)
    assert reader.poll().learners == [{"user_id": ANN, "complete": True, "questions": []}]


def test_a_cursor_of_another_database_is_refused(pooled: Engine) -> None:
    with pooled.begin() as connection, pytest.raises(UnknownCursorError):
        changes.read_changes(connection, changes.Cursor(2**40), limit=1)


@pytest.mark.parametrize("written", ["x", "1-2", "-1", "1-2-3-4", " 1", "1" * 20])
def test_what_is_no_cursor_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=written):
        changes.Cursor.read(written)
