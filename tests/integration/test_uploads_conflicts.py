"""Whatever two contents come under one uuid: once the second is accepted, it is as if it had come alone."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from shared.errors import UnknownSessionError
from shared.ops.actions import void_upload
from shared.uploads import Verdict
from tests.factories import (
    accept,
    deliver,
    delivery,
    forget,
    ingest,
    progress,
    sound,
    standing,
    uuid_of,
    work_off,
)
from tests.strategies import uploads

MARK_DEAD = text("UPDATE uploads SET status = 'dead', finalized_at = now()")


pytestmark = pytest.mark.usefixtures("catalog")


def bring(engine: Engine, sent: dict[str, Any], state: str) -> None:
    """Let an upload wait, be replayed, be voided then, or be dead."""
    if state == "dead":
        with engine.begin() as connection:
            connection.execute(MARK_DEAD)
    elif state != "waiting":
        work_off(engine, sent)
    if state == "voided":
        # One that was rejected has left none.
        with suppress(UnknownSessionError), engine.begin() as connection:
            void_upload(connection, uuid_of(sent), reason="test")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    sent=uploads(most=4).flatmap(st.permutations),
    state=st.sampled_from(["waiting", "replayed", "voided", "dead"]),
    early=st.integers(0, 2),
)
def test_I8_what_is_accepted_is_as_if_it_came_alone(
    engine: Engine, sent: list[dict[str, Any]], state: str, early: int
) -> None:
    first, other, *others = sent
    second = other | {"client_session_uuid": first["client_session_uuid"]}
    assume(delivery(first).content_hash != delivery(second).content_hash)
    forget(engine)
    deliver(engine, first)
    assert deliver(engine, second).verdict is Verdict.CONFLICT
    bring(engine, first, state)
    for each in others[:early]:
        ingest(engine, each)
    accept(engine)
    work_off(engine, second)
    for each in others[early:]:
        ingest(engine, each)
    left = progress(engine)
    assert sound(engine)
    if standing(engine, second).status == "ingested":
        assert deliver(engine, first).verdict is Verdict.CONFLICT
        assert deliver(engine, second).verdict is Verdict.INGESTED

    forget(engine)
    for each in [second, *others]:
        ingest(engine, each)
    assert progress(engine) == left
