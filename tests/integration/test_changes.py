"""A reader that follows the changes ends with the tables' progress, however slow writers are."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from shared import changes
from shared.config import StoreSettings
from shared.db import make_engine
from shared.errors import ConfigurationError, UnknownCursorError
from shared.learners import delete_learner
from shared.models import PublishedItem
from shared.ops.actions import unvoid_upload, void_upload
from shared.regrading import regrade
from shared.replay import replay
from shared.study.store import lock_learner
from tests.factories import (
    ANN,
    BEN,
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
    upload,
    uuid_of,
)
from tests.reader import Reader, reader

SENT_AT = "2026-11-20T09:00:00Z"


@pytest.fixture
def pooled(database_url: str) -> Iterator[Engine]:
    engine = make_engine(StoreSettings(database_url=database_url), pool_size=len(ZONES) + 1)
    load(engine)
    yield engine
    engine.dispose()


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


def void(engine: Engine, learner: int) -> None:
    with engine.begin() as connection:
        void_upload(connection, UUID(int=learner, version=4), reason="test")


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


def play(engine: Engine, follows: Reader, steps: list[Step]) -> None:
    """Take the steps; a learner's transaction stays open until it is committed or rolled back."""
    waiting = deliver_uploads(engine, steps)
    transactions: dict[int, Connection] = {}
    with ExitStack() as opened:
        for kind, learner, key, polls in steps:
            if kind in KINDS:
                if learner not in transactions:
                    transactions[learner] = opened.enter_context(engine.connect())
                change(transactions[learner], learner, kind, waiting[learner], key)
            elif connection := transactions.pop(learner, None):
                (connection.commit if kind == "commit" else connection.rollback)()
                connection.close()
            if polls:
                follows.poll()
        for connection in transactions.values():
            connection.commit()


@pytest.mark.timeout(3600)  # for the profile `long`
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every example forgets the last
@given(steps=steps, limit=st.integers(1, 4), questions_limit=st.integers(1, 4))
def test_readers_end_with_the_tables_progress_whatever_commits_when(
    pooled: Engine, steps: list[Step], limit: int, questions_limit: int
) -> None:
    forget(pooled)
    for learner in ZONES:
        ingest(pooled, first_upload(learner))
    follows, comes_late = reader(pooled, limit, questions_limit), reader(pooled)
    play(pooled, follows, steps)
    for each in (follows, comes_late):
        each.catch_up()
        assert each.differences(pooled) == 0


def test_a_change_is_not_passed_over_by_a_faster_one(pooled: Engine) -> None:
    slow, fast = first_upload(1), first_upload(2)
    deliver(pooled, slow)
    follows = reader(pooled)
    with pooled.connect() as connection:
        replay(connection, [uuid_of(slow)], now=NOW, default_zone=DEFAULT_ZONE)
        ingest(pooled, fast)
        follows.catch_up()
        connection.commit()
    assert follows.differences(pooled) > 0
    follows.catch_up()
    assert follows.differences(pooled) == 0
    assert follows.copy.keys() == {1, 2}


def test_nothing_comes_twice_at_rest(pooled: Engine) -> None:
    ingest(pooled, first_upload(ANN))
    follows = reader(pooled)
    follows.catch_up()
    assert follows.poll()["learners"] == []
    ingest(pooled, upload(answer("q111", SENT_AT)))
    (learner,) = follows.poll()["learners"]
    assert (learner["user_id"], learner["complete"]) == (ANN, False)
    assert [each["question_id"] for each in learner["questions"]] == [111]


def test_a_deleted_learner_is_a_change(pooled: Engine) -> None:
    ingest(pooled, first_upload(ANN))
    follows = reader(pooled)
    follows.catch_up()
    with pooled.begin() as connection:
        delete_learner(connection, ANN)
    assert follows.poll()["learners"] == [{"user_id": ANN, "complete": True, "questions": []}]


def test_a_learner_with_many_questions_is_read_in_parts(pooled: Engine) -> None:
    ingest(pooled, upload(*(answer(f"q1{n}", SENT_AT) for n in (10, 11, 20))))
    ingest(pooled, first_upload(BEN))
    follows = reader(pooled, limit=1, questions_limit=2)
    first, second = follows.poll(), follows.poll()
    (whole,), (rest,) = first["learners"], second["learners"]
    assert ([whole["complete"], len(whole["questions"])], first["more"]) == ([True, 2], True)
    assert ([rest["complete"], len(rest["questions"])], second["more"]) == ([False, 1], True)
    follows.catch_up()
    assert follows.differences(pooled) == 0


@pytest.mark.parametrize("elsewhere", [0, 10])
def test_a_cursor_of_another_database_is_refused(pooled: Engine, elsewhere: int) -> None:
    follows = reader(pooled)
    follows.catch_up()
    database, since = follows.cursor.split("-")
    follows.cursor = f"{database}-{2**40}"
    with pytest.raises(UnknownCursorError):
        follows.poll()
    follows.cursor = f"{elsewhere:08}-{since}"
    with pytest.raises(UnknownCursorError):
        follows.poll()


def test_tables_that_were_restored_in_place_are_another_database(pooled: Engine) -> None:
    follows = reader(pooled)
    follows.catch_up()
    with pooled.begin() as connection:
        connection.execute(text("CREATE TABLE restored (LIKE learner_changes INCLUDING ALL)"))
        connection.execute(text("DROP TABLE learner_changes"))
        connection.execute(text("ALTER TABLE restored RENAME TO learner_changes"))
    with pytest.raises(UnknownCursorError):
        follows.poll()


FOREIGN_LEARNERS = text("UPDATE learner_changes SET changed_xid = '999999999999', whole_xid = '999999999999'")
FOREIGN_PROGRESS = text("UPDATE study_question_progress SET changed_xid = '999999999999'")


def test_rows_of_another_postgres_are_numbered_again(pooled: Engine) -> None:
    ingest(pooled, first_upload(ANN))
    with pooled.begin() as connection:
        connection.execute(FOREIGN_LEARNERS)
        connection.execute(FOREIGN_PROGRESS)
    follows = reader(pooled)
    with pytest.raises(ConfigurationError, match="study-ingest migrate"):
        follows.poll()
    for _ in range(2):
        with pooled.begin() as connection:
            changes.renumber(connection)
        follows.catch_up()
        assert follows.differences(pooled) == 0
        assert follows.poll()["learners"] == []  # the second time, nothing was renumbered
    void(pooled, ANN)
    follows.catch_up()
    assert follows.differences(pooled) == 0


@pytest.mark.parametrize(
    "written",
    ["x", "1", "1-2", "-1", "00000000-1-2", "00000000-1-2-3-4-5", " 00000000-1", f"00000000-{'1' * 20}"],
)
def test_what_is_no_cursor_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=written):
        changes.Cursor.read(written)


@pytest.mark.parametrize("place", [(5,), (5, 9, 2), (5, 9, 2, 7), (2**40, 2**40 + 1, 2**62)])
def test_a_cursor_is_read_as_it_was_written(place: tuple[int, ...]) -> None:
    cursor = changes.Cursor("0123abcd", *place)
    assert changes.Cursor.read(str(cursor)) == cursor
