"""A deleted learner's answers go, whatever became of the uploads that hold them; nobody else's do."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from click.testing import CliRunner
from redis import Redis
from sqlalchemy import Connection, Engine, text

from cli.main import main
from shared import db, spool
from shared.config import Settings
from shared.db import make_engine
from shared.errors import CatalogError, UnknownConflictError
from shared.learners import delete_learner, export_learner
from shared.live.forms import Submission
from shared.live.sessions import submit
from shared.models import (
    StudyQuestion,
    StudyQuestionAttempt,
    StudyQuestionProgress,
    StudyQuizSession,
    Upload,
    UploadConflict,
    UploadEvent,
    User,
)
from shared.ops.actions import accept_conflict, discard_conflict, list_conflicts
from shared.ops.reports import report_upload
from shared.uploads import MAX_CONFLICTS, Verdict, lock
from tests.factories import (
    ANN,
    BEN,
    CHO,
    DEFAULT_ZONE,
    answer,
    begin_session,
    deliver,
    delivery,
    everything,
    ingest,
    load,
    question,
    rows,
    sound,
    standing,
    upload,
    uuid_of,
    work_off,
)
from tests.marks import MARK
from tests.processes import PATIENCE_S
from tests.race import named, overlap, wait_until_blocked
from tests.reader import reader

ANNS = answer("q110", "2026-11-20T09:00:00Z")
BENS = answer("second210", "2026-11-20T09:01:00Z")
NOBODYS = answer("q999", "2026-11-20T09:02:00Z")


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    with spool.connect(settings.redis_url) as redis:
        yield redis


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    load(engine)


def other(sent: dict[str, Any], *answers: dict[str, Any]) -> dict[str, Any]:
    """Make other content under the uuid of an upload."""
    return sent | {"attempts": list(answers)}


def delete(engine: Engine, learner: int, redis: Redis | None = None) -> None:
    with engine.begin() as connection:
        delete_learner(connection, learner, redis)


def end(engine: Engine, status: str) -> None:
    reason = "unknown_questions" if status == "rejected" else None
    with engine.begin() as connection:
        ended = text("UPDATE uploads SET status = :status, reason = :reason, finalized_at = now()")
        connection.execute(ended, {"status": status, "reason": reason})


def exported(engine: Engine, learner: int, table: str) -> list[dict[str, Any]]:
    with engine.begin() as connection:
        lines = [json.loads(line) for line in export_learner(connection, learner)]
    return [line["row"] for line in lines if line["table"] == table]


def payloads(engine: Engine) -> list[Any]:
    return [row["payload"] for row in [*rows(engine, Upload), *rows(engine, UploadConflict)]]


@pytest.mark.parametrize(
    ("status", "left"),
    [
        ("received", ("rejected", "learner_deleted")),
        ("rejected", ("rejected", "unknown_questions")),
        ("dead", ("dead", None)),
    ],
)
def test_I11_what_was_never_ingested_is_blanked(
    engine: Engine, status: str, left: tuple[str, str | None]
) -> None:
    sent = upload(NOBODYS, ANNS)
    deliver(engine, sent)
    deliver(engine, other(sent, NOBODYS))
    if status != "received":
        end(engine, status)
    delete(engine, ANN)
    assert payloads(engine) == [None, None]
    found = standing(engine, sent)
    assert (found.status, found.reason) == left


def test_I11_what_an_operator_put_back_is_blanked(engine: Engine) -> None:
    sent = upload(NOBODYS)
    deliver(engine, sent)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET user_id = :id"), {"id": ANN})
    delete(engine, ANN)
    assert payloads(engine) == [None]
    assert standing(engine, sent).reason == "learner_deleted"


@pytest.mark.parametrize(
    ("content", "left"),
    [(BENS, ("received", None)), (NOBODYS, ("received", None)), (ANNS, ("rejected", "learner_deleted"))],
)
def test_I1_what_replaces_a_rejected_upload_meanwhile_is_blanked_only_if_it_is_theirs(
    engine: Engine, content: dict[str, Any], left: tuple[str, str | None]
) -> None:
    """The deletion has found the rejected content, and waits while other content takes its place."""
    sent = upload(ANNS, NOBODYS)
    deliver(engine, sent)
    end(engine, "rejected")
    new = other(sent, content)
    replaced, deleted = overlap(engine, lambda db: deliver(db, new), lambda db: delete(db, ANN))
    assert replaced.result().verdict == Verdict.NEW
    deleted.result()
    found = standing(engine, sent)
    assert (found.status, found.reason) == left
    assert payloads(engine) == [None if left[0] == "rejected" else new]


def test_I11_a_deletion_waits_for_a_move_of_the_spool_and_the_move_for_nothing(
    engine: Engine, settings: Settings, redis: Redis
) -> None:
    """The move leaves out what the deletion has locked, and the deletion removes it from the spool."""
    sent = upload(ANNS)
    deliver(engine, sent)
    end(engine, "rejected")
    spool.push(redis, delivery(other(sent, ANNS, NOBODYS)))  # it takes the place of the rejected content
    ours = make_engine(settings.model_copy(update={"lock_timeout": PATIENCE_S}), pool_size=2)
    with ThreadPoolExecutor(1) as pool, ours.begin() as deletion, engine.begin() as mover:
        assert spool.try_lock(mover)
        deleted = pool.submit(delete_learner, deletion, ANN, redis)
        wait_until_blocked(engine, deleted)
        assert spool.drain(redis, ours) == 0
        mover.commit()
        assert (deleted.result().uploads, deleted.result().spooled) == (1, 1)
    assert payloads(engine) == [None]
    ours.dispose()


@pytest.mark.parametrize("learner", [ANN, BEN])
def test_I11_what_names_two_learners_goes_with_either(engine: Engine, learner: int) -> None:
    assert ingest(engine, upload(ANNS, BENS)).reason == "mixed_owners"
    delete(engine, learner)
    assert payloads(engine) == [None]


def test_I11_a_conflict_goes_with_the_learner_whom_it_names(engine: Engine) -> None:
    sent = upload(BENS)
    ingest(engine, sent)
    deliver(engine, other(sent, ANNS))
    delete(engine, ANN)
    assert payloads(engine) == [sent, None]


def test_I11_a_deletion_waits_for_an_operator_who_accepts_what_the_learner_sent(engine: Engine) -> None:
    sent = upload(BENS)
    ingest(engine, sent)
    anns = other(sent, ANNS)
    deliver(engine, anns)
    (conflict,) = rows(engine, UploadConflict)

    def accept(engine: Engine) -> None:
        with engine.begin() as connection:
            accept_conflict(connection, conflict["id"])

    accepted, deleted = overlap(engine, accept, lambda db: delete(db, ANN))
    accepted.result()
    deleted.result()
    assert standing(engine, sent).reason == "learner_deleted"
    assert payloads(engine) == [None, sent]


def test_I1_what_another_learners_token_sent_under_their_uuid_stays(engine: Engine) -> None:
    sent = upload(ANNS)
    deliver(engine, sent)
    bens, unknown = other(sent, BENS), other(sent, NOBODYS)
    for each in (bens, unknown):
        assert deliver(engine, each, learner_id=BEN).verdict is Verdict.PENDING
    trusted = other(sent, BENS, NOBODYS)
    deliver(engine, trusted)
    work_off(engine, sent)
    with engine.begin() as connection:
        anns = [json.loads(line) for line in export_learner(connection, ANN)]
        his = [json.loads(line) for line in export_learner(connection, BEN)]
    shown = [
        [line["row"]["payload"] for line in lines if line["table"] == "upload_conflicts"]
        for lines in (anns, his)
    ]
    assert shown == [[], [bens, unknown, trusted]]
    delete(engine, ANN)
    assert payloads(engine) == [None, bens, unknown, trusted]


@pytest.mark.parametrize("status", ["received", "rejected", "dead"])
def test_I11_what_a_token_sent_of_anothers_questions_is_its_learners_alone(
    engine: Engine, redis: Redis, status: str
) -> None:
    sent = upload(BENS, device="Ann's phone")
    deliver(engine, sent, learner_id=ANN)
    conflict = other(sent, BENS, NOBODYS)
    deliver(engine, conflict, learner_id=ANN)
    spool.push(redis, delivery(upload(BENS), learner_id=ANN))
    if status == "rejected":
        work_off(engine, sent)
        assert standing(engine, sent).reason == "other_learner"
    elif status == "dead":
        end(engine, status)
    for table, content in (("uploads", sent), ("upload_conflicts", conflict)):
        assert [row["payload"] for row in exported(engine, ANN, table)] == [content]
        assert exported(engine, BEN, table) == []
    for learner, gone in ((BEN, (0, 0, 0)), (ANN, (1, 1, 1))):
        with engine.begin() as connection:
            assert delete_learner(connection, learner, redis)[-3:] == gone
    assert payloads(engine) == [None, None]
    assert spool.is_empty(redis)


def test_what_names_others_stays(engine: Engine) -> None:
    sent = upload(BENS, NOBODYS)
    deliver(engine, sent)
    deliver(engine, other(sent, NOBODYS))
    delete(engine, ANN)
    assert payloads(engine) == [sent, other(sent, NOBODYS)]
    work_off(engine, sent)
    assert standing(engine, sent).status == "ingested"


@pytest.mark.parametrize("status", ["ingested", "rejected", "dead"])
def test_I11_nothing_is_stored_under_the_uuid_of_deleted_answers(engine: Engine, status: str) -> None:
    sent = upload(ANNS)
    deliver(engine, sent)
    work_off(engine, sent) if status == "ingested" else end(engine, status)
    delete(engine, ANN)
    load(engine)
    for content in (ANNS, NOBODYS, BENS):
        receipt = deliver(engine, other(sent, content, content))
        assert receipt.verdict is (Verdict.REJECTED if status == "rejected" else Verdict.CONFLICT)
        assert receipt.is_deleted
    assert payloads(engine) == [None]


def test_I11_answers_that_were_deleted_as_a_conflict_are_not_stored_in_place_of_a_rejected_upload(
    engine: Engine,
) -> None:
    sent = upload(BENS, NOBODYS)
    deliver(engine, sent)
    deliver(engine, other(sent, ANNS))
    end(engine, "rejected")
    delete(engine, ANN)
    assert deliver(engine, other(sent, ANNS)).is_deleted
    assert payloads(engine) == [sent, None]


@pytest.mark.parametrize("status", ["received", "rejected", "dead"])
def test_I11_what_was_blanked_is_not_kept_again_when_it_is_sent_again(engine: Engine, status: str) -> None:
    sent = upload(ANNS)
    deliver(engine, sent)
    if status != "received":
        end(engine, status)
    delete(engine, ANN)
    assert deliver(engine, sent).verdict in {Verdict.REJECTED, Verdict.DEAD}
    assert payloads(engine) == [None]


def test_I11_what_was_blanked_is_not_kept_again_when_its_learner_is_back(engine: Engine) -> None:
    sent = upload(ANNS)
    deliver(engine, sent)
    deliver(engine, other(sent, ANNS, ANNS))
    end(engine, "dead")
    delete(engine, ANN)
    load(engine)
    for each in (sent, other(sent, ANNS, ANNS), other(sent, ANNS, NOBODYS)):
        deliver(engine, each)
    assert payloads(engine) == [None, None]


def test_I11_a_blanked_conflict_is_not_shown_and_cannot_be_discarded(engine: Engine) -> None:
    """Without its row, the deleted answers would be stored when they are sent again."""
    sent = upload(BENS)
    ingest(engine, sent)
    deliver(engine, other(sent, ANNS))
    delete(engine, ANN)
    (conflict,) = rows(engine, UploadConflict)
    for act in (discard_conflict, accept_conflict):
        with engine.begin() as connection, pytest.raises(UnknownConflictError):
            act(connection, conflict["id"])
    with engine.connect() as connection:
        assert list_conflicts(connection, limit=10) == []
        assert report_upload(connection, uuid_of(sent)).conflicts == []
    deliver(engine, other(sent, ANNS))
    assert payloads(engine) == [sent, None]


def test_blanked_conflicts_leave_place_for_others(engine: Engine) -> None:
    sent = upload(BENS)
    ingest(engine, sent)
    for minute in range(MAX_CONFLICTS):
        deliver(engine, other(sent, answer("q110", f"2026-11-20T09:{minute:02}:00Z")))
    delete(engine, ANN)
    assert deliver(engine, other(sent, answer("second210", LATER))).verdict is Verdict.CONFLICT
    with engine.connect() as connection:
        assert len(list_conflicts(connection, limit=20)) == 1


def test_a_row_that_its_host_deleted_leaves_nothing_of_what_was_ingested(engine: Engine) -> None:
    sent = upload(ANNS)
    ingest(engine, sent)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": ANN})
    assert payloads(engine) == [sent]
    delete(engine, ANN)
    assert payloads(engine) == [None]


MOVED = {"questions": [question(number, user_id=BEN, study_topic_id=21) for number in (110, 111)]}
LATER = "2026-11-24T09:00:00Z"


def questions(engine: Engine) -> dict[int, tuple[int, int, bool]]:
    """Return each question's owner and topic, and whether it is retired."""
    return {
        row["id"]: (row["user_id"], row["study_topic_id"], row["retired_at"] is not None)
        for row in rows(engine, StudyQuestion)
    }


def test_what_others_answered_of_a_deleted_learners_questions_goes_back_to_them(engine: Engine) -> None:
    sent = upload(ANNS, answer("q120", "2026-11-20T09:05:00Z"))
    ingest(engine, sent)
    load(engine, MOVED, force=True)
    ingest(engine, upload(answer("q110", LATER)))
    tables = (StudyQuestionAttempt, StudyQuestionProgress, StudyQuizSession)
    before = [[row for row in rows(engine, table) if row["user_id"] == ANN] for table in tables]
    follow = reader(engine)
    follow.catch_up()
    delete(engine, BEN)
    assert [rows(engine, table) for table in tables] == before
    assert [each for each in payloads(engine) if each] == [sent]
    left = questions(engine)
    assert left[110] == (ANN, 11, True)
    assert 111 not in left
    follow.catch_up()
    assert follow.differences(engine) == 0
    assert sound(engine)


def test_what_several_others_answered_goes_to_the_one_who_answered_last(engine: Engine) -> None:
    ingest(engine, upload(ANNS))
    load(engine, {"questions": [question(110, user_id=CHO, study_topic_id=32)]}, force=True)
    ingest(engine, upload(answer("q110", LATER)))
    load(engine, MOVED, force=True)
    delete(engine, BEN)
    assert questions(engine)[110] == (CHO, 32, True)
    assert len(rows(engine, StudyQuestionAttempt)) == 2


def test_what_another_learner_is_asked_goes_back_to_them(engine: Engine) -> None:
    begin_session(engine, ANN, 11, 110)
    load(engine, MOVED, force=True)
    delete(engine, BEN)
    assert questions(engine)[110] == (ANN, 11, True)


def test_what_goes_back_and_was_retired_before_keeps_its_date(engine: Engine) -> None:
    ingest(engine, upload(ANNS))
    retired = "2026-11-21T09:00:00+00:00"
    load(engine, {"questions": [each | {"retired_at": retired} for each in MOVED["questions"]]}, force=True)
    delete(engine, BEN)
    dates = {row["id"]: row["retired_at"] for row in rows(engine, StudyQuestion)}
    assert dates[110].isoformat() == retired


def test_a_deletion_waits_for_a_load_that_moves_questions_to_the_learner(engine: Engine) -> None:
    ingest(engine, upload(ANNS))
    moved, deleted = overlap(engine, lambda db: load(db, MOVED, force=True), lambda db: delete(db, BEN))
    moved.result()
    deleted.result()
    assert questions(engine)[110] == (ANN, 11, True)
    assert len(rows(engine, StudyQuestionAttempt)) == 1


@contextmanager
def waiting_for(engine: Engine, sent: dict[str, Any], learner: int) -> Iterator[None]:
    """Begin a deletion, and end it after the block: meanwhile it waits for an upload."""
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as replay:
            lock(replay, [uuid_of(sent)])
            deletion = pool.submit(delete, named(engine, "deletion"), learner)
            wait_until_blocked(engine, deletion, "deletion")
            yield
        deletion.result()


@pytest.mark.parametrize(
    ("catalog", "force"), [(MOVED, True), ({"questions": [question(219)]}, False)], ids=["moved", "new"]
)
def test_a_load_for_a_learner_who_is_being_deleted_says_so(
    engine: Engine, catalog: dict[str, Any], *, force: bool
) -> None:
    deletion, loading = overlap(engine, lambda db: delete(db, BEN), lambda db: load(db, catalog, force=force))
    deletion.result()
    with pytest.raises(CatalogError, match="was deleted at the same time"):
        loading.result()


def test_I12_a_deletion_that_waits_for_an_upload_stops_no_load(engine: Engine) -> None:
    """If it locked the question before the upload, it would deadlock with the first load."""
    ingest(engine, upload(ANNS))
    load(engine, MOVED, force=True)
    bens = upload(BENS)
    ingest(engine, bens)
    back = {"questions": [question(110, user_id=ANN, study_topic_id=12)]}
    with waiting_for(engine, bens, BEN):
        load(engine, back, force=True)
        load(engine, {"questions": [question(321)]})
    assert questions(engine)[110][0] == ANN


def test_I12_a_deletion_that_waits_for_an_upload_stops_no_move_of_the_spool(
    engine: Engine, redis: Redis
) -> None:
    anns, bens = upload(ANNS), upload(BENS)
    deliver(engine, anns)
    with waiting_for(engine, anns, ANN):
        spool.push(redis, delivery(bens))
        with engine.begin() as sweeper:
            assert spool.try_lock(sweeper)
            assert spool.drain(redis, engine) == 1


@pytest.mark.parametrize(
    "new",
    [
        {"questions": [question(119)]},
        {"questions": [question(110, "q119")]},
        {
            "topics": [{"id": 19, "user_id": ANN, "name": "new"}],
            "questions": [question(119, study_topic_id=19)],
        },
    ],
    ids=["question", "edition", "topic"],
)
@pytest.mark.parametrize("sent_to", ["uploads", "spool"])
def test_I11_what_names_a_question_that_is_just_being_added_is_blanked(
    engine: Engine, redis: Redis, new: dict[str, Any], sent_to: str
) -> None:
    sent = upload(answer("q119", LATER))
    if sent_to == "spool":
        spool.push(redis, delivery(sent))
    else:
        deliver(engine, sent)
    loaded, deleted = overlap(engine, lambda db: load(db, new), lambda db: delete(db, ANN, redis))
    loaded.result()
    deleted.result()
    assert spool.is_empty(redis)
    assert not any(payloads(engine))


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO published_items VALUES ('new', 220, '[1, 2]', 0)",
        "UPDATE published_items SET published_at = now() WHERE source_id = 220",
    ],
)
def test_I12_a_deletion_that_waits_for_a_load_stops_no_move_and_no_answer_of_others(
    engine: Engine, redis: Redis, change: str
) -> None:
    """The load changes a question of the learner; a former owner is asked another one."""
    begin_session(engine, ANN, 11, 110)
    load(engine, MOVED, force=True)
    (session,) = rows(engine, StudyQuizSession)
    anns = upload(answer("second110", LATER))
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as loading:
            loading.execute(text(change))
            deletion = pool.submit(delete, named(engine, "deletion"), BEN)
            wait_until_blocked(engine, deletion, "deletion")
            spool.push(redis, delivery(anns))
            with engine.begin() as sweeper:
                assert spool.try_lock(sweeper)
                assert spool.drain(redis, engine) == 1
            given = Submission(pub_id="q110", selected=1, unsure=False)
            now = datetime.fromisoformat(LATER)
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '1s'"))
                submit(connection, ANN, session["id"], given, now=now, default_zone=DEFAULT_ZONE)
        deletion.result()
    assert len(rows(engine, StudyQuestionAttempt)) == 1


def test_I11_a_conflict_that_arrives_during_a_deletion_keeps_no_answers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = upload(ANNS)
    ingest(engine, sent)
    with ThreadPoolExecutor(1) as pool:
        arrivals = []

        def execute(connection: Connection, statement: Any, *bound: Any) -> Any:
            if "upload_conflicts SET payload = NULL" in str(statement):
                arriving = pool.submit(deliver, named(engine, "arrival"), other(sent, ANNS, NOBODYS))
                wait_until_blocked(engine, arriving, "arrival")
                arrivals.append(arriving)
            return db.execute(connection, statement, *bound)

        monkeypatch.setattr("shared.learners.execute", execute)
        delete(engine, ANN)
        assert [each.result().verdict for each in arrivals] == [Verdict.CONFLICT]
    assert payloads(engine) == [None]


def test_I11_a_conflict_that_is_being_accepted_during_a_deletion_keeps_no_answers(engine: Engine) -> None:
    """It arrived after the deletion had locked the learner's uploads."""
    anns, bens = upload(ANNS), upload(BENS)
    deliver(engine, anns)
    ingest(engine, bens)
    with ThreadPoolExecutor(1) as pool, engine.begin() as operator:
        with engine.begin() as replay:
            lock(replay, [uuid_of(anns)])
            deletion = pool.submit(delete, named(engine, "deletion"), ANN)
            wait_until_blocked(engine, deletion, "deletion")
            deliver(engine, other(bens, ANNS))
            (conflict,) = rows(engine, UploadConflict)
            accept_conflict(operator, conflict["id"])
        wait_until_blocked(engine, deletion, "deletion")
        operator.commit()
        deletion.result()
    assert standing(engine, bens).reason == "learner_deleted"
    assert payloads(engine) == [None, None, bens]


def test_a_load_and_a_deletion_lock_questions_in_one_order(engine: Engine) -> None:
    new = {"questions": [question(111, subject="new"), question(110, subject="new")]}
    with ThreadPoolExecutor(2) as pool:
        with engine.begin() as holder:
            holder.execute(text("SELECT FROM study_questions WHERE id = 110 FOR NO KEY UPDATE"))
            deletion = pool.submit(delete, named(engine, "deletion"), ANN)
            wait_until_blocked(engine, deletion, "deletion")
            loading = pool.submit(load, named(engine, "loading"), new)
            wait_until_blocked(engine, loading, "loading")
        deletion.result()
        with pytest.raises(CatalogError, match="was deleted at the same time"):
            loading.result()


def test_a_second_deletion_of_a_learner_counts_nothing(engine: Engine) -> None:
    sent = upload(ANNS)
    ingest(engine, sent)
    deliver(engine, other(sent, ANNS, NOBODYS))
    counts = []
    for _ in range(2):
        with engine.begin() as connection:
            counts.append(delete_learner(connection, ANN)[3:])
    assert counts == [(1, 1, 0), (0, 0, 0)]
    assert [row["kind"] for row in rows(engine, UploadEvent)] == ["purged"]


def test_I11_two_learners_who_share_questions_are_deleted_at_once(engine: Engine) -> None:
    """Without their order, the question that one deletion hands back could go with the other."""
    ingest(engine, upload(ANNS))
    load(engine, MOVED, force=True)
    deliver(engine, upload(answer("q110", LATER), NOBODYS))
    bens = upload(BENS)
    ingest(engine, bens)
    with ThreadPoolExecutor(1) as pool:
        with waiting_for(engine, bens, BEN):
            anns = pool.submit(delete, named(engine, "ann's"), ANN)
            wait_until_blocked(engine, anns, "ann's")
        anns.result()
    assert [each for each in payloads(engine) if each] == []


@pytest.mark.parametrize("learner", [None, ANN])
def test_I11_what_is_replayed_while_a_deletion_waits_is_blanked(engine: Engine, learner: int | None) -> None:
    waiting, replayed = upload(ANNS), upload(answer("q111", LATER))
    deliver(engine, waiting)
    with waiting_for(engine, waiting, ANN):
        deliver(engine, replayed, learner_id=learner)
        work_off(engine, replayed)
    assert payloads(engine) == [None, None]


def test_I11_the_command_deletes_and_says_so(engine: Engine, database_url: str) -> None:
    ingest(engine, upload(ANNS))
    words = ["learners", "delete", str(ANN), "--yes"]
    result = CliRunner().invoke(main, words, env={"DATABASE_URL": database_url})
    assert result.output == (
        f"deleted of learner {ANN}: 1 sessions, 1 attempts, progress at 1 questions;"
        " blanked: 1 uploads, 0 conflicts; removed from the spool: 0\n"
    )
    assert payloads(engine) == [None]
    assert [row["id"] for row in rows(engine, User)] == [BEN, CHO]
    assert rows(engine, StudyQuizSession) == rows(engine, StudyQuestionProgress) == []


MARKED = f"q-{MARK}"


def marked_uploads(engine: Engine, redis: Redis) -> dict[str, Any]:
    """Let a learner's questions and answers bear a mark, wherever an upload can be; return the conflict's."""
    load(engine, {"questions": [question(110, MARKED, choices=[MARK, "b", "c", "d"])]})
    answers = [answer(MARKED, f"2026-11-20T09:0{n}:00Z") for n in range(3)]
    ingest(engine, upload(answers[0], note=MARK))
    conflict = other(upload(answers[1], note=MARK), answers[2])
    for sent in (conflict | {"attempts": [answers[1]]}, conflict, upload(answers[1], BENS, note=MARK)):
        deliver(engine, sent)
    work_off(engine, conflict)
    for place in (spool.SPOOL, spool.MOVING, spool.REFUSED):
        spool.push(redis, delivery(upload(answers[0], note=MARK)))
        if place != spool.SPOOL:
            redis.lmove(spool.SPOOL, place)
    spool.push(redis, delivery(upload(BENS)))
    return conflict


def test_I11_nothing_that_is_marked_is_left_in_any_table_or_in_redis(engine: Engine, redis: Redis) -> None:
    marked_uploads(engine, redis)
    assert MARK in json.dumps(everything(engine), default=str)
    with engine.begin() as connection:
        receipt = delete_learner(connection, ANN, redis)
    assert receipt == (2, 2, 1, 3, 1, 3)
    assert MARK not in json.dumps(everything(engine), default=str)
    lists = [redis.lrange(str(key), 0, -1) for key in redis.keys("*")]
    assert MARK not in str(lists)
    assert redis.llen(spool.SPOOL) == 1  # somebody else's


def test_I11_of_an_upload_of_two_learners_each_is_shown_their_own_answers(engine: Engine) -> None:
    sent = upload(ANNS, NOBODYS, BENS)
    for each in (sent, other(sent, BENS, ANNS)):
        deliver(engine, each)
    work_off(engine, sent)
    assert standing(engine, sent).reason == "mixed_owners"
    with engine.begin() as connection:
        lines = [json.loads(line)["row"] for line in export_learner(connection, ANN)]
    assert [line["payload"]["attempts"] for line in lines if "payload" in line] == [[ANNS, NOBODYS], [ANNS]]
    (result,) = [line["result"]["attempts"] for line in lines if "result" in line]
    assert [each["pub_id"] for each in result] == [ANNS["pub_id"], NOBODYS["pub_id"]]


@pytest.mark.parametrize("ingested", [True, False])
def test_what_a_learner_answered_before_a_question_moved_is_shown_to_them(
    engine: Engine,
    ingested: bool,  # noqa: FBT001  # by pytest
) -> None:
    sent = upload(ANNS, answer("q111", LATER))
    deliver(engine, sent, learner_id=None if ingested else ANN)
    if ingested:
        work_off(engine, sent)
    load(engine, {"questions": [question(110, user_id=BEN, study_topic_id=21)]}, force=True)
    assert [row["payload"] for row in exported(engine, ANN, "uploads")] == [sent]


def test_what_is_known_of_a_learner_is_exported_whole(engine: Engine, redis: Redis) -> None:
    marked_uploads(engine, redis)
    with engine.begin() as connection:
        lines = [json.loads(line) for line in export_learner(connection, ANN)]
    counts = Counter(line["table"] for line in lines)
    assert counts["study_quiz_sessions"] == counts["study_question_attempts"] == 2
    assert (counts["uploads"], counts["upload_conflicts"], counts["users"]) == (3, 1, 1)
    with engine.begin() as connection:
        delete_learner(connection, ANN)
        rest = [json.loads(line)["table"] for line in export_learner(connection, ANN)]
    assert set(rest) <= {"uploads", "upload_conflicts", "upload_events"}  # their uuids, without contents


def test_what_another_learners_token_sent_stays_although_a_replay_named_the_owner(engine: Engine) -> None:
    """As a worker of the release before leaves such an upload."""
    sent = upload(BENS, NOBODYS)
    deliver(engine, sent, learner_id=ANN)
    work_off(engine, sent)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET user_id = :ben"), {"ben": BEN})
        exported = [json.loads(line)["table"] for line in export_learner(connection, BEN)]
    assert "uploads" not in exported
    delete(engine, BEN)
    assert payloads(engine) == [sent]


def test_what_a_deleted_learners_token_sent_is_not_stored_from_a_trusted_sender(engine: Engine) -> None:
    sent = upload(BENS)
    deliver(engine, sent, learner_id=ANN)
    work_off(engine, sent)
    assert standing(engine, sent).reason == "other_learner"
    delete(engine, ANN)
    receipt = deliver(engine, sent)
    assert (receipt.verdict, receipt.reason, receipt.result) == (Verdict.REJECTED, "learner_deleted", None)
    assert payloads(engine) == [None]


def test_a_waiting_upload_that_names_a_moved_question_is_its_former_owners(engine: Engine) -> None:
    ingest(engine, upload(ANNS))
    load(engine, MOVED, force=True)
    late = upload(answer("q110", "2026-11-22T09:00:00Z"), answer("q120", "2026-11-22T09:00:00Z"))
    deliver(engine, late)
    delete(engine, BEN)
    assert late in payloads(engine)
