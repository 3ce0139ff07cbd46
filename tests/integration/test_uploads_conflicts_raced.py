"""Accepting other content meets a replay, another accept, and whatever else changes an upload."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from shared.errors import ReplayRefusedError, SupersededError, UnknownConflictError
from shared.models import UploadConflict
from shared.ops.actions import (
    add_skipped,
    discard_conflict,
    unvoid_upload,
    void_upload,
)
from shared.study.store import lock_learner
from tests.factories import (
    ANN,
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
    upload,
    uuid_of,
    work_off,
)
from tests.race import named, overlap, wait_until_blocked

NINE = "2026-11-20T09:00:00Z"
FIRST = upload(answer("q110", NINE), answer("q112", NINE), answer("q120", NINE))
SECOND = FIRST | {"attempts": [answer("q110", NINE, WRONG), answer("q111", NINE)]}

Act = Callable[[Engine], Any]


def replay(engine: Engine) -> None:
    work_off(engine, FIRST)


def discard(engine: Engine) -> None:
    (conflict,) = rows(engine, UploadConflict)
    with engine.begin() as connection:
        discard_conflict(connection, conflict["id"])


def unvoid(engine: Engine) -> None:
    with engine.begin() as connection:
        unvoid_upload(connection, uuid_of(FIRST))


def add(engine: Engine) -> None:
    with engine.begin() as connection:
        add_skipped(connection, uuid_of(FIRST), now=NOW, default_zone=DEFAULT_ZONE)


@pytest.fixture
def alone(engine: Engine) -> list[str]:
    """Return the progress of a world in which only the second was ever sent; then let both come."""
    load(engine)
    ingest(engine, SECOND)
    left = progress(engine)
    forget(engine)
    deliver(engine, FIRST)
    deliver(engine, SECOND)
    return left


def second_stands(engine: Engine, alone: list[str]) -> bool:
    work_off(engine, SECOND)
    return progress(engine) == alone and sound(engine)


@pytest.mark.parametrize(("one", "other"), [(replay, accept), (accept, replay)])
def test_I2_a_replay_and_an_accept_at_once(engine: Engine, alone: list[str], one: Act, other: Act) -> None:
    for each in overlap(engine, one, other):
        each.result()
    assert second_stands(engine, alone)


def test_I2_two_operators_accept_once(engine: Engine, alone: list[str]) -> None:
    replay(engine)
    early, late = overlap(engine, accept, accept)
    early.result()
    with pytest.raises(UnknownConflictError):
        late.result()
    assert second_stands(engine, alone)


def test_I1_what_is_about_to_be_accepted_cannot_be_discarded(engine: Engine, alone: list[str]) -> None:
    replay(engine)
    with ThreadPoolExecutor(2) as pool:
        with engine.begin() as connection:
            lock_learner(connection, ANN)
            accepted = pool.submit(accept, named(engine, "accepting"))
            wait_until_blocked(engine, accepted, "accepting")
            discarded = pool.submit(discard, named(engine, "discarding"))
            wait_until_blocked(engine, discarded, "discarding")
        accepted.result()
        with pytest.raises(UnknownConflictError):
            discarded.result()
    assert second_stands(engine, alone)


@pytest.mark.parametrize(("one", "other"), [(unvoid, accept), (accept, unvoid)])
def test_an_unvoid_and_an_accept_at_once(engine: Engine, alone: list[str], one: Act, other: Act) -> None:
    replay(engine)
    with engine.begin() as connection:
        void_upload(connection, uuid_of(FIRST), reason="test")
    early, late = overlap(engine, one, other)
    early.result()
    if other is unvoid:
        with pytest.raises(SupersededError):
            late.result()
    else:
        late.result()
    assert second_stands(engine, alone)


@pytest.mark.parametrize(("one", "other"), [(add, accept), (accept, add)])
def test_skipped_attempts_join_while_others_are_accepted(
    engine: Engine, alone: list[str], one: Act, other: Act
) -> None:
    replay(engine)
    load(engine, dict(CATALOG) | {"questions": [*CATALOG["questions"], question(112)]})
    early, late = overlap(engine, one, other)
    early.result()
    if other is add:
        with pytest.raises(ReplayRefusedError, match="is received"):
            late.result()
    else:
        late.result()
    assert second_stands(engine, alone)
