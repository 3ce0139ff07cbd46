"""An operator accepts other content under the uuid of an upload: as if only that had ever come."""

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import Engine, text

from cli.client import PATH
from shared.errors import SupersededError
from shared.learners import delete_learner
from shared.models import StudyQuizSession, Upload, UploadConflict
from shared.ops.actions import add_skipped, shift_clock, unvoid_upload, void_upload
from shared.uploads import Verdict
from tests.clients import STUDY_TOKEN, Front, refusal
from tests.factories import (
    ANN,
    BEN,
    CATALOG,
    DEFAULT_ZONE,
    NOW,
    WRONG,
    accept,
    answer,
    deliver,
    forget,
    ingest,
    load,
    progress,
    question,
    rows,
    sound,
    standing,
    upload,
    uuid_of,
    work_off,
)

FIRST = upload(answer("q110", "2026-11-20T09:00:00Z"), answer("q120", "2026-11-20T09:01:00Z"))
SECOND = upload(answer("q110", "2026-11-20T09:00:00Z", WRONG), answer("q111", "2026-11-20T09:02:00Z")) | {
    "client_session_uuid": FIRST["client_session_uuid"]
}


def void(engine: Engine) -> int:
    with engine.begin() as connection:
        return void_upload(connection, uuid_of(FIRST), reason="test")


def unvoid(engine: Engine) -> int:
    with engine.begin() as connection:
        return unvoid_upload(connection, uuid_of(FIRST))


@pytest.fixture
def alone(engine: Engine) -> list[str]:
    """Return the progress of a world in which only the second was ever sent."""
    load(engine)
    ingest(engine, SECOND)
    left = progress(engine)
    forget(engine)
    return left


@pytest.mark.parametrize("before", ["received", "ingested", "voided", "dead", "rejected"])
def test_what_is_accepted_is_as_if_it_came_alone(engine: Engine, alone: list[str], before: str) -> None:
    deliver(engine, FIRST)
    assert deliver(engine, SECOND).verdict is Verdict.CONFLICT
    if before in {"ingested", "voided"}:
        work_off(engine, FIRST)
    if before == "voided":
        void(engine)
    if before in {"dead", "rejected"}:
        reason = "no_reason" if before == "rejected" else None
        with engine.begin() as connection:
            end = text("UPDATE uploads SET status = :status, reason = :reason, finalized_at = now()")
            connection.execute(end, {"status": before, "reason": reason})
    accept(engine)
    assert standing(engine, SECOND).status == "received"
    work_off(engine, SECOND)
    found = standing(engine, SECOND)
    assert (found.status, found.voided_at) == ("ingested", None)
    assert progress(engine) == alone
    assert sound(engine)
    assert deliver(engine, FIRST).verdict is Verdict.CONFLICT
    assert deliver(engine, SECOND).verdict is Verdict.INGESTED
    assert len(rows(engine, UploadConflict)) == 1


def test_accepting_the_first_again_swaps_back(engine: Engine, alone: list[str]) -> None:
    ingest(engine, FIRST)
    left = progress(engine)
    deliver(engine, SECOND)
    for expected in (alone, left, alone):
        accept(engine)
        work_off(engine, FIRST)
        assert progress(engine) == expected


def test_swapping_back_keeps_the_shift_of_the_clock(engine: Engine) -> None:
    load(engine)
    ingest(engine, FIRST)
    unshifted = progress(engine)
    with engine.begin() as connection:
        shift_clock(connection, uuid_of(FIRST), timedelta(days=-2), now=NOW, default_zone=DEFAULT_ZONE)
    shifted = progress(engine)
    assert shifted != unshifted
    deliver(engine, SECOND)
    for _ in range(2):
        accept(engine)
        work_off(engine, FIRST)
    assert progress(engine) == shifted
    (kept,) = rows(engine, UploadConflict)
    assert kept["clock_shift"] is None


def test_what_was_superseded_never_comes_back(engine: Engine, alone: list[str]) -> None:
    ingest(engine, FIRST)
    deliver(engine, SECOND)
    accept(engine)
    for act in (unvoid, void):
        with pytest.raises(SupersededError, match="its present content has none"):
            act(engine)
    work_off(engine, SECOND)
    assert (unvoid(engine), progress(engine)) == (0, alone)  # what counts now was never void
    assert (void(engine), unvoid(engine)) == (1, 1)
    assert progress(engine) == alone


@pytest.mark.parametrize(("method", "path"), [("POST", "/unvoid"), ("DELETE", "")])
def test_the_front_end_can_neither_bring_back_nor_void_what_was_superseded(
    front: Front, engine: Engine, method: str, path: str
) -> None:
    """Its answers may count through another session, and 200 would mean that they do not."""
    ingest(engine, FIRST)
    deliver(engine, SECOND)
    accept(engine)
    before = rows(engine, StudyQuizSession)
    session = f"/study/users/{front.learner}/sessions/{before[0]['id']}"
    answered = front.web.request(method, f"{session}{path}", headers=STUDY_TOKEN)
    assert refusal(answered) == (409, "session-closed")
    assert rows(engine, StudyQuizSession) == before


def test_what_was_skipped_joins_the_content_that_stands(engine: Engine) -> None:
    load(engine)
    ingest(engine, FIRST)
    second = SECOND | {"attempts": [answer("q112", "2026-11-20T09:03:00Z"), *SECOND["attempts"]]}
    deliver(engine, second)
    accept(engine)
    work_off(engine, second)
    load(engine, dict(CATALOG) | {"questions": [*CATALOG["questions"], question(112)]})
    with engine.begin() as connection:
        assert add_skipped(connection, uuid_of(second), now=NOW, default_zone=DEFAULT_ZONE) == 1
    late = progress(engine)
    assert sound(engine)
    forget(engine)
    ingest(engine, second)
    assert progress(engine) == late


def test_a_voided_upload_whose_row_is_gone_is_not_ingested_again(engine: Engine) -> None:
    load(engine)
    ingest(engine, FIRST)
    void(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM uploads"))
    ingest(engine, FIRST)
    assert progress(engine) == []
    assert all(session["voided_at"] for session in rows(engine, StudyQuizSession))


def test_I8_senders_are_answered_by_what_was_accepted(web: httpx.Client, engine: Engine) -> None:
    load(engine)
    assert web.post(PATH, json=FIRST).status_code == 202
    assert web.post(PATH, json=SECOND).status_code == 409
    accept(engine)
    assert web.post(PATH, json=SECOND).status_code == 202
    work_off(engine, SECOND)
    assert web.post(PATH, json=FIRST).status_code == 409
    assert web.post(PATH, json=SECOND).json()["status"] == "already_ingested"


@pytest.mark.parametrize(("gone", "left"), [(ANN, [False, True]), (BEN, [True, False])])
def test_a_deleted_learners_answers_are_deleted_also_from_another_content(
    engine: Engine, gone: int, left: list[bool]
) -> None:
    load(engine)
    ingest(engine, FIRST)
    of_ben = FIRST | {"attempts": [answer("q210", "2026-11-20T09:00:00Z")]}
    deliver(engine, of_ben)
    accept(engine)
    work_off(engine, of_ben)
    with engine.begin() as connection:
        delete_learner(connection, gone)
    kept = [*rows(engine, UploadConflict), *rows(engine, Upload)]
    assert [row["payload"] is not None for row in kept] == left


def test_what_waits_is_not_blanked_with_the_learner_it_was_accepted_over(engine: Engine) -> None:
    load(engine)
    ingest(engine, FIRST)
    of_ben = FIRST | {"attempts": [answer("q210", "2026-11-20T09:00:00Z")]}
    deliver(engine, of_ben)
    accept(engine)
    with engine.begin() as connection:
        delete_learner(connection, ANN)
    work_off(engine, of_ben)
    assert standing(engine, of_ben).status == "ingested"


def test_what_was_accepted_back_is_blanked_with_its_learner(engine: Engine) -> None:
    load(engine)
    ingest(engine, FIRST)
    deliver(engine, SECOND)
    accept(engine)
    accept(engine)
    with engine.begin() as connection:
        delete_learner(connection, ANN)
    assert [row["payload"] for row in [*rows(engine, UploadConflict), *rows(engine, Upload)]] == [None, None]
    assert standing(engine, FIRST).reason == "learner_deleted"
