"""Voiding takes a session out of progress as if it had never been; unvoiding brings it back."""

import json
import random
from datetime import UTC, datetime
from uuid import UUID

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from cli.main import main
from shared.errors import UnknownSessionError
from shared.ops.actions import unvoid_upload, void_upload
from shared.replay import replay
from shared.study.store import list_progress
from shared.uploads import Verdict, find, receive
from tests import factories

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def ingest(engine: Engine, upload: dict[str, object]) -> Verdict:
    delivery = factories.delivery(upload, NOW)
    with engine.begin() as connection:
        (receipt,) = receive(connection, [delivery], first_try_after=30)
    with engine.begin() as connection:
        replay(connection, [delivery.client_session_uuid], now=NOW, default_zone="UTC")
    return receipt.verdict


def progress(engine: Engine) -> str:
    with engine.connect() as connection:
        return json.dumps(list(list_progress(connection, 1)))


def void(engine: Engine, uuid: UUID) -> int:
    with engine.begin() as connection:
        return void_upload(connection, uuid, reason="a test")


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE uploads, study_quiz_sessions, study_question_progress CASCADE"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), others=st.integers(0, 4), place=st.integers(0, 4))
def test_void_after_ingest_is_never_ingested_and_unvoid_brings_it_back(
    engine: Engine, seed: int, others: int, place: int
) -> None:
    empty(engine)
    factories.load_many(engine, learners=1)
    rng = random.Random(seed)
    kept = [factories.random_upload(rng, 1) for _ in range(others)]
    voided = factories.random_upload(rng, 1)
    for upload in kept:
        ingest(engine, upload)
    never = progress(engine)
    empty(engine)
    for upload in [*kept[:place], voided, *kept[place:]]:
        ingest(engine, upload)
    ingested = progress(engine)
    uuid = UUID(voided["client_session_uuid"])

    assert void(engine, uuid) > 0
    assert progress(engine) == never
    assert void(engine, uuid) == 0
    assert progress(engine) == never
    with engine.begin() as connection:
        assert unvoid_upload(connection, uuid) > 0
    assert progress(engine) == ingested
    with engine.begin() as connection:
        assert unvoid_upload(connection, uuid) == 0


def test_a_voided_upload_says_so_and_stays_already_ingested(engine: Engine) -> None:
    factories.load_many(engine, learners=1)
    upload = factories.random_upload(random.Random(1), 1)
    ingest(engine, upload)
    uuid = UUID(upload["client_session_uuid"])
    void(engine, uuid)
    with engine.connect() as connection:
        found = find(connection, uuid)
        reasons = (
            connection.execute(text("SELECT DISTINCT void_reason FROM study_quiz_sessions")).scalars().all()
        )
    assert found is not None
    assert found.status == "ingested"
    assert found.voided_at is not None
    assert reasons == ["a test"]
    assert ingest(engine, upload) is Verdict.INGESTED
    assert progress(engine) == "[]"


def test_waiting_webhooks_of_a_voided_session_are_skipped_until_it_is_brought_back(engine: Engine) -> None:
    factories.load_many(engine, learners=1)
    upload = factories.random_upload(random.Random(1), 1)
    ingest(engine, upload)
    void(engine, UUID(upload["client_session_uuid"]))
    shown = text("SELECT DISTINCT status, last_error FROM outbox")
    with engine.begin() as connection:
        assert connection.execute(shown).all() == [("skipped", "session voided")]
        unvoid_upload(connection, UUID(upload["client_session_uuid"]))
        assert connection.execute(shown).all() == [("waiting", None)]


def test_what_left_no_session_cannot_be_voided(engine: Engine) -> None:
    with pytest.raises(UnknownSessionError):
        void(engine, UUID(int=1))


def test_the_commands_tell_what_they_did(engine: Engine, database_url: str) -> None:
    factories.load_many(engine, learners=1)
    upload = factories.random_upload(random.Random(1), 1)
    ingest(engine, upload)
    run, environment = CliRunner().invoke, {"DATABASE_URL": database_url}
    uuid = upload["client_session_uuid"]
    assert (
        "sessions voided" in run(main, ["uploads", "void", uuid, "--reason", "why"], env=environment).output
    )
    assert "already" in run(main, ["uploads", "void", uuid, "--reason", "why"], env=environment).output
    assert "are back" in run(main, ["uploads", "unvoid", uuid], env=environment).output
    unknown = run(main, ["uploads", "void", str(UUID(int=1)), "--reason", "why"], env=environment)
    assert unknown.exit_code == 1
    assert "there is no quiz session of upload" in unknown.output
