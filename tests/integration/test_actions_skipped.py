"""Attempts that were skipped join their upload, as if the catalog had been complete from the start."""

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from cli.main import main
from shared.errors import ReplayRefusedError
from shared.live import sessions
from shared.models import Outbox, StudyQuestionAttempt, StudyQuizSession
from shared.ops.actions import add_skipped, shift_clock, unvoid_upload, void_upload
from tests.factories import (
    ANN,
    ARRIVAL,
    CATALOG,
    DEFAULT_ZONE,
    NOW,
    RIGHT,
    WRONG,
    answer,
    everything,
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
)
from tests.race import overlap

Sent = dict[str, Any]
NINE, TEN, ELEVEN = (f"2026-11-20T{hour:02}:00:00Z" for hour in (9, 10, 11))

# History as of the time when a session was finalized: a late one knows more.
PATTERNS = {"newly_correct_count", "recovered_count", "relapsed_count", "chronic_remaining_count"}

# What the catalog lacks at first: a second name of a question that it knows, two questions, and choices.
LATE = [question(110, "late110"), question(112), question(121)]
FULL = dict(CATALOG) | {"questions": [*CATALOG["questions"], *LATE]}
TOO_FEW = {"choices": ["a", "b"]}
EARLY = dict(CATALOG) | {
    "questions": [each | TOO_FEW if each["id"] == 111 else each for each in CATALOG["questions"]]
}
NAMES = ["q110", "second110", "late110", "q111", "q112", "q120", "q121"]


def shrink(engine: Engine) -> None:
    """Bring the catalog back to what it was at first."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM published_items"))
        connection.execute(text("DELETE FROM study_questions"))
    load(engine, EARLY)


def add(engine: Engine, sent: Sent) -> int:
    with engine.begin() as connection:
        return add_skipped(connection, uuid_of(sent), now=NOW, default_zone=DEFAULT_ZONE)


def test_a_study_date_stays_when_the_learner_has_moved_meanwhile(engine: Engine) -> None:
    """20:00 in UTC: in Seoul it is the next day."""
    late = "2026-11-20T20:00:00Z"
    sent = upload(answer("q110", late), answer("q112", late))

    def load_with(zone: str, catalog: dict[str, Any]) -> None:
        load(engine, catalog | {"users": [{"id": ANN, "time_zone": zone}]})

    load(engine, EARLY)
    load_with("Asia/Seoul", EARLY)
    ingest(engine, sent)
    load_with("America/Los_Angeles", FULL)
    assert add(engine, sent) == 1
    for hours in (1, 0):  # a clock that is shifted by mistake, and back
        with engine.begin() as connection:
            shift = timedelta(hours=hours)
            shift_clock(connection, uuid_of(sent), shift, now=NOW, default_zone=DEFAULT_ZONE)
    last = rows(engine, StudyQuestionAttempt)[-2:]
    dates = {row["pub_id"]: str(row["study_date"]) for row in last}
    assert dates == {"q110": "2026-11-21", "q112": "2026-11-20"}
    assert sound(engine)


def left(engine: Engine) -> Any:
    """Return what uploads left, without what tells when and in which order rows were written."""
    unlike = PATTERNS | {"id", "study_quiz_session_id", "created_at", "updated_at", "finalized_at"}
    sessions = {row["id"]: row for row in rows(engine, StudyQuizSession) if row["superseded_at"] is None}
    place = {id_: (row["client_session_uuid"], row["study_topic_id"]) for id_, row in sessions.items()}
    attempts = [
        (*place[row["study_quiz_session_id"]], *(v for name, v in row.items() if name not in unlike))
        for row in rows(engine, StudyQuestionAttempt)
        if row["study_quiz_session_id"] in place
    ]
    kept = [{name: v for name, v in row.items() if name not in unlike} for row in sessions.values()]
    return progress(engine), sorted(attempts, key=str), sorted(kept, key=str)


def result_of(engine: Engine, sent: Sent) -> Any:
    """Return an upload's result, without its sessions' ids, order and patterns."""
    result = standing(engine, sent).result
    assert result is not None
    topics = sorted(
        [
            {n: v for n, v in topic.items() if n not in PATTERNS | {"session_id"}}
            for topic in result["topics"]
        ],
        key=lambda topic: topic["study_topic_id"],
    )
    return result | {"topics": topics}


def other(rng: random.Random) -> Sent:
    names, times, choices = ("q110", "q120"), [NINE, TEN, ELEVEN], [RIGHT, WRONG]
    return upload(*(answer(name, rng.choice(times), rng.choice(choices)) for name in names))


@st.composite
def answered(draw: st.DrawFn) -> list[dict[str, Any]]:
    one = st.builds(
        answer,
        st.sampled_from(NAMES),
        st.sampled_from([NINE, TEN, ELEVEN]),
        st.sampled_from([None, 0, RIGHT, WRONG, 3]),
        unsure=st.booleans(),
    )
    return [answer("q110", TEN), *draw(st.lists(one, min_size=1, max_size=8))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(main=answered(), ended=st.sampled_from([{}, {"finished_at": ELEVEN}]), seed=st.integers(0, 5))
def test_I3_what_joins_late_leaves_what_a_full_catalog_leaves(
    engine: Engine, main: list[dict[str, Any]], ended: dict[str, str], seed: int
) -> None:
    forget(engine)
    load(engine, EARLY)
    shrink(engine)
    rng = random.Random(seed)
    others = [other(rng) for _ in range(rng.randrange(3))]
    sent = upload(*rng.sample(main, len(main)), **ended)
    ingest(engine, sent)
    for each in others:
        ingest(engine, each)
    load(engine, FULL, force=True)  # q111 may be answered: its choices are corrected
    added = add(engine, sent)
    late, late_result = left(engine), result_of(engine, sent)
    assert sound(engine)
    before = everything(engine)
    assert add(engine, sent) == 0
    assert everything(engine) == before

    forget(engine)
    for each in [*others, sent]:
        ingest(engine, each)
    expected = left(engine)
    assert late == expected
    if added:
        assert late_result == result_of(engine, sent)


@pytest.fixture
def early(engine: Engine) -> Sent:
    """Ingest an upload of which the catalog knows half."""
    load(engine, EARLY)
    sent = upload(
        answer("late110", NINE, WRONG), answer("q110", TEN), answer("q120", TEN), answer("q112", TEN)
    )
    ingest(engine, sent)
    return sent


def test_an_earlier_answer_counts_in_the_place_of_the_later(engine: Engine, early: Sent) -> None:
    load(engine, FULL)
    assert add(engine, early) == 2
    result = standing(engine, early).result
    assert result is not None
    assert [each["status"] for each in result["attempts"]] == ["counted", "practice", "counted", "counted"]
    assert [topic["wrong_count"] for topic in result["topics"]] == [1, 0]
    assert sound(engine)


def test_the_sessions_before_stay_on_record_and_never_come_back(engine: Engine, early: Sent) -> None:
    before = [row["id"] for row in rows(engine, StudyQuizSession)]
    load(engine, FULL)
    add(engine, early)
    superseded = [row for row in rows(engine, StudyQuizSession) if row["superseded_at"]]
    assert [row["id"] for row in superseded] == before
    assert {row["void_reason"] for row in superseded} == {"superseded: its upload was replayed again"}
    left_by_add = progress(engine)
    assert (void(engine, early), unvoid(engine, early)) == (2, 2)
    assert progress(engine) == left_by_add


def test_its_webhooks_are_asked_for_again(engine: Engine, early: Sent) -> None:
    load(engine, FULL)
    add(engine, early)
    webhooks = [(row["study_quiz_session_id"], row["status"]) for row in rows(engine, Outbox)]
    superseded = {row["id"]: bool(row["superseded_at"]) for row in rows(engine, StudyQuizSession)}
    assert {(superseded[session], status) for session, status in webhooks} == {
        (True, "skipped"),
        (False, "waiting"),
    }


def test_I2_two_operators_add_the_same_once(engine: Engine, early: Sent) -> None:
    load(engine, FULL)
    with ThreadPoolExecutor(2) as threads:
        added = list(threads.map(lambda _: add(engine, early), range(2)))
    assert sorted(added) == [0, 2]
    assert sound(engine)


def void(engine: Engine, sent: Sent) -> int:
    with engine.begin() as connection:
        return void_upload(connection, uuid_of(sent), reason="a test")


def unvoid(engine: Engine, sent: Sent) -> int:
    with engine.begin() as connection:
        return unvoid_upload(connection, uuid_of(sent))


def test_sessions_that_count_are_not_void_for_having_superseded_others(engine: Engine, early: Sent) -> None:
    load(engine, FULL)
    assert add(engine, early) > 0
    assert unvoid(engine, early) == 0
    count = void(engine, early)
    assert (unvoid(engine, early), sound(engine)) == (count, True)


def purge(engine: Engine, sent: Sent) -> None:
    with engine.begin() as connection:
        bound = {"id": uuid_of(sent)}
        connection.execute(text("UPDATE uploads SET payload = NULL WHERE client_session_uuid = :id"), bound)


def give_away(engine: Engine, _: Sent) -> None:
    """Let a question that was skipped turn out to be another learner's."""
    load(engine, dict(CATALOG) | {"questions": [*CATALOG["questions"], question(212, "q112")]})


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(void, "unvoid it first"), (purge, "is deleted"), (give_away, "is not the only owner")],
)
def test_what_cannot_be_added_is_refused_with_nothing_written(
    engine: Engine, early: Sent, spoil: Callable[[Engine, Sent], None], why: str
) -> None:
    if spoil is not give_away:
        load(engine, FULL)
    spoil(engine, early)
    before = everything(engine)
    with pytest.raises(ReplayRefusedError, match=why):
        add(engine, early)
    assert everything(engine) == before


def test_I1_what_was_graded_is_never_skipped_by_adding(engine: Engine, early: Sent) -> None:
    load(engine, FULL)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM published_items WHERE pub_id = 'q120'"))
    before = everything(engine)
    with pytest.raises(ReplayRefusedError, match="1 graded attempts"):
        add(engine, early)
    assert everything(engine) == before


def test_an_upload_that_is_not_ingested_is_replayed_as_a_whole(engine: Engine) -> None:
    load(engine)
    sent = upload(answer("q999", NINE))
    ingest(engine, sent)
    with pytest.raises(ReplayRefusedError, match="is rejected"):
        add(engine, sent)


def run(database_url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["uploads", "replay", *words], env={"DATABASE_URL": database_url})


def test_the_command_tries_and_adds(engine: Engine, database_url: str, early: Sent) -> None:
    load(engine, FULL)
    before, uuid = everything(engine), early["client_session_uuid"]
    tried = run(database_url, uuid, "--skipped", "--dry-run")
    assert tried.exit_code == 0
    assert everything(engine) == before
    shown = {line.split()[0] for line in tried.stdout.splitlines() if "→" in line}
    assert shown == {"q110", "q112", "late110"}
    assert run(database_url, uuid, "--skipped").stdout == "2 attempts added\n"
    assert run(database_url, uuid, "--skipped").stdout == "0 attempts added\n"
    assert "no progress would change" in run(database_url, uuid, "--skipped", "--dry-run").stdout


@contextmanager
def locked(engine: Engine, sent: Sent) -> Iterator[None]:
    with engine.begin() as connection:
        lock = text("SELECT FROM uploads WHERE client_session_uuid = :id FOR NO KEY UPDATE")
        connection.execute(lock, {"id": uuid_of(sent)})
        yield


def test_the_command_adds_to_all_that_it_lists(
    engine: Engine, database_url: str, early: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCK_TIMEOUT", "0.1")
    refused = upload(answer("q120", NINE), answer("q112", TEN))
    whole, bens = upload(answer("q120", NINE)), upload(answer("q210", NINE), answer("q999", TEN))
    voided = upload(answer("q120", NINE), answer("q112", TEN))
    ingest(engine, refused, ARRIVAL - timedelta(hours=1))  # it comes first, and does not stop the others
    for each in (whole, bens, voided):
        ingest(engine, each)
    void(engine, voided)
    load(engine, FULL)
    before, some = everything(engine), [early["client_session_uuid"], refused["client_session_uuid"]]
    words = ("--skipped", "--learner", str(ANN))
    listed = CliRunner().invoke(
        main, ["uploads", "list", *words, "--json"], env={"DATABASE_URL": database_url}
    )
    assert [json.loads(line)["client_session_uuid"] for line in listed.stdout.splitlines()] == some
    with locked(engine, refused):
        tried = run(database_url, *words, "--dry-run")
    assert (tried.exit_code, "2 uploads, 1 refused\n" in tried.stdout) == (1, True)
    asked = run(database_url, *words)
    assert "Replay these 2 uploads?" in asked.stdout
    assert [each in asked.stdout for each in (*some, whole["client_session_uuid"])] == [True, True, False]
    assert everything(engine) == before
    with locked(engine, refused):
        done = run(database_url, *words, "--yes")
    assert "2 uploads, 1 refused, 2 attempts added\n" in done.stdout
    assert (done.exit_code, f"another process has locked {some[1]}" in done.stderr) == (1, True)
    assert sound(engine)
    assert "1 uploads, 0 refused, 1 attempts added\n" in run(database_url, *words, "--yes").stdout
    assert run(database_url, "--skipped", "--question", "late110").stdout == "none found\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--skipped", "--status", "dead"],
        ["--skipped", "--error", "x"],
        ["--shift-clock", "+1h", "--learner", "1"],
        [str(UUID(int=1)), "--learner", "1"],
        [str(UUID(int=1)), "--skipped", "--shift-clock", "+1h"],
    ],
)
def test_options_that_contradict_each_other_are_a_mistake(database_url: str, words: list[str]) -> None:
    assert run(database_url, *words).exit_code == 2


def test_what_its_learner_voids_meanwhile_stays_void(engine: Engine, early: Sent) -> None:
    load(engine, FULL)
    ids = [row["id"] for row in rows(engine, StudyQuizSession)]

    def void_live(engine: Engine) -> None:
        with engine.begin() as connection:
            for each in ids:
                sessions.void(connection, ANN, each, now=NOW, default_zone=DEFAULT_ZONE)

    _, late = overlap(engine, void_live, lambda e: add(e, early))
    with pytest.raises(ReplayRefusedError, match="unvoid it first"):
        late.result()
    assert progress(engine) == []
    assert sound(engine)


def test_what_is_voided_while_it_gains_a_session_is_voided_whole(engine: Engine) -> None:
    load(engine, EARLY)
    sent = upload(answer("q110", NINE), answer("q121", TEN))
    ingest(engine, sent)
    load(engine, FULL)
    early, late = overlap(
        engine,
        lambda e: add(e, sent),
        lambda e: void(e, sent),
    )
    assert (early.result(), late.result()) == (1, 2)
    assert all(row["voided_at"] for row in rows(engine, StudyQuizSession))
    assert sound(engine)
