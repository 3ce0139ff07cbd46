"""I2: every guard against replaying an upload twice is enough by itself, so that no one mistake does harm.

The look for sessions of the upload stays on: it is what a lock is waited for.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from shared import attempts, uploads
from shared.errors import OvertakenError
from shared.models import StudyQuestionAttempt
from shared.study import store
from tests.factories import answer, deliver, load, reviews, rows, sound, statuses, upload, work_off
from tests.race import overlap

AT = "2026-11-20T09:00:00Z"
Patch = pytest.MonkeyPatch


def remove_clause(patch: Patch, module: ModuleType, name: str, clause: str) -> None:
    """Take a clause out of a statement."""
    statement = str(getattr(module, name))
    assert clause in statement
    patch.setattr(module, name, text(statement.replace(clause, "")))


def row_lock(patch: Patch, _: Engine) -> None:
    remove_clause(patch, uploads, "_LOCK", "FOR NO KEY UPDATE")


def status_check(patch: Patch, _: Engine) -> None:
    def lock_anyway(connection: Connection, sent: Iterable[UUID]) -> list[uploads.Locked]:
        rows = connection.execute(uploads._LOCK, {"ids": list(sent)})  # noqa: SLF001  as uploads.lock does
        return [uploads.Locked(*row) for _, *row in rows]

    patch.setattr(uploads, "lock", lock_anyway)
    remove_clause(patch, uploads, "_CLOSE", "AND uploads.finalized_at IS NULL")


def learner_lock(patch: Patch, _: Engine) -> None:
    remove_clause(patch, store, "_LOCK_OWNERS", "FOR NO KEY UPDATE")


def on_conflict(patch: Patch, _: Engine) -> None:
    clause = """ON CONFLICT (client_session_uuid, study_topic_id)
        WHERE client_session_uuid IS NOT NULL AND superseded_at IS NULL DO NOTHING"""
    remove_clause(patch, attempts, "_INSERT_SESSIONS", clause)


def unique_index(_: Patch, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX uq_study_quiz_sessions_client_session_uuid_study_topic_id"))


SEVERAL = pytest.mark.parametrize("several", [False, True], ids=["one upload", "several"])
GUARDS = [row_lock, status_check, learner_lock, on_conflict, unique_index]


def race(
    engine: Engine, patch: Patch, kept: list[Callable[[Patch, Engine], None]], *, several: bool
) -> Future[Any]:
    """Let two workers replay the same uploads with only some guards on; return how the second fared."""
    load(engine)
    sent = [upload(answer("q110", AT), answer("q120", AT))]
    if several:
        sent.append(upload(answer("q210", AT), answer("q220", AT)))
    for each in sent:
        deliver(engine, each)
    for guard in GUARDS:
        if guard not in kept:
            guard(patch, engine)
    early, late = overlap(engine, lambda e: work_off(e, *sent), lambda e: work_off(e, *sent))
    early.result()
    return late


@SEVERAL
def test_I2_without_any_guard_two_workers_do_the_work_twice(
    engine: Engine, monkeypatch: Patch, *, several: bool
) -> None:
    race(engine, monkeypatch, kept=[], several=several).result()
    assert len(rows(engine, StudyQuestionAttempt)) == 4 * (1 + several)  # so the tests below do race


@SEVERAL
@pytest.mark.parametrize(
    ("kept", "second_fails"),
    [
        ([row_lock], None),
        ([status_check], OvertakenError),
        ([learner_lock], None),
        ([on_conflict, unique_index], OvertakenError),  # the clause stands on the index
        ([unique_index], IntegrityError),
    ],
)
def test_I2_one_guard_is_enough(
    engine: Engine,
    monkeypatch: Patch,
    kept: list[Callable[[Patch, Engine], None]],
    second_fails: type | None,
    *,
    several: bool,
) -> None:
    late = race(engine, monkeypatch, kept, several=several)
    assert type(late.exception()) is (second_fails or type(None))
    assert len(rows(engine, StudyQuestionAttempt)) == 2 * (1 + several)
    assert reviews(engine) == {110: 1, 120: 1} | ({210: 1, 220: 1} if several else {})
    assert set(statuses(engine)) == {"ingested"}
    assert sound(engine)


def test_I2_without_the_learner_lock_a_review_is_lost(engine: Engine, monkeypatch: Patch) -> None:
    """Show what only this guard prevents: two uploads that fold onto the same progress."""
    load(engine)
    first, second = upload(answer("q110", AT)), upload(answer("q110", "2026-11-21T09:00:00Z"))
    for sent in (first, second):
        deliver(engine, sent)
    learner_lock(monkeypatch, engine)
    for worker in overlap(engine, lambda e: work_off(e, first), lambda e: work_off(e, second)):
        worker.result()
    assert reviews(engine) == {110: 1}
