"""Finalize asks for webhooks: both kinds, once a session, however it was closed."""

import pytest
from sqlalchemy import Engine, text

from shared.models import Outbox
from shared.study.finalize import finalize_session
from tests.factories import ANN, NOW, answer, ingest, rows, upload, work_off

NINE = "2026-11-20T09:00:00Z"
BOTH = ["explain_misses", "weak_areas"]


pytestmark = pytest.mark.usefixtures("catalog")


def asked(engine: Engine) -> dict[int, list[str]]:
    """Return the kinds that wait, by session."""
    found: dict[int, list[str]] = {}
    for row in rows(engine, Outbox):
        assert (row["status"], row["tries"], row["last_error"]) == ("waiting", 0, None)
        found.setdefault(row["study_quiz_session_id"], []).append(row["kind"])
    return {session: sorted(kinds) for session, kinds in found.items()}


def finalize(engine: Engine, session_id: int) -> None:
    with engine.begin() as connection:
        finalize_session(connection, ANN, session_id, now=NOW)


def test_every_topic_of_an_upload_asks_once(engine: Engine) -> None:
    sent = upload(answer("q110", NINE), answer("q120", NINE))
    ingest(engine, sent)
    before = asked(engine)
    assert list(before.values()) == [BOTH, BOTH]
    ingest(engine, sent)
    work_off(engine, sent)
    assert asked(engine) == before


@pytest.mark.parametrize("status", ["in_progress", "abandoned"])
def test_I4_a_live_session_asks_as_an_upload_does(engine: Engine, status: str) -> None:
    add = text("""
        INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, status)
        VALUES (1, 11, '[110]', :status) RETURNING id
    """)
    with engine.begin() as connection:
        session_id = connection.execute(add, {"status": status}).scalar_one()
    assert asked(engine) == {}
    finalize(engine, session_id)
    assert asked(engine) == {session_id: BOTH}
    finalize(engine, session_id)
    assert asked(engine) == {session_id: BOTH}


def test_a_rejected_upload_asks_for_nothing(engine: Engine) -> None:
    assert ingest(engine, upload(answer("q110", NINE), answer("q210", NINE))).status == "rejected"
    assert asked(engine) == {}
