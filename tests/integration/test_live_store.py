"""The live side while Postgres is away or busy: 503 within the deadline; uploads do not notice."""

from sqlalchemy import Engine, text

from cli.client import PATH
from cli.local.servers import Servers
from shared.models import StudyQuestionAttempt
from shared.payload import EXAMPLE_UPLOAD
from tests.clients import Front, refusal, started
from tests.factories import rows
from tests.faults import frozen
from tests.processes import until


def test_a_frozen_postgres_is_503_and_a_retry_finds_everything_once(
    front: Front, servers: Servers, engine: Engine
) -> None:
    session = started(front.start())
    with frozen(servers.postgres.pid):
        responses = [front.answer(session, "q110") for _ in range(3)]
        responses += [front.start(), front.finalize(session), front.abandon(session), front.get("sessions")]
        responses += [front.get(path) for path in ("reviews", "wrong-notes", "topics/11/weak-areas")]
    assert {refusal(response) for response in responses} == {(503, "store-unavailable")}
    assert all(response.headers["Retry-After"] for response in responses)
    until(lambda: front.answer(session, "q110").status_code == 200, "the store is asked again")
    assert front.finalize(session).json()["snapshot"]["correct_count"] == 1
    assert len(rows(engine, StudyQuestionAttempt)) == 1


def test_a_refusal_says_that_the_store_is_back(front: Front, servers: Servers) -> None:
    with frozen(servers.postgres.pid):
        assert front.finalize(1).status_code == 503
    until(lambda: front.finalize(1).status_code == 404, "the store is asked again")
    assert front.finalize(1).status_code == 404


def test_I12_a_locked_table_of_the_live_side_delays_no_upload(front: Front, engine: Engine) -> None:
    with engine.begin() as holder:
        holder.execute(text("LOCK TABLE study_question_progress, study_quiz_sessions"))
        for _ in range(3):
            assert refusal(front.get("reviews")) == (503, "store-unavailable")
            assert front.web.post(PATH, json=EXAMPLE_UPLOAD).status_code == 202
            assert front.web.get("/readyz").status_code == 200
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT count(*) FROM uploads")) == 1, "in Postgres"
    assert front.get("reviews").status_code == 200, (
        "what was slow was not away: nothing is refused afterwards"
    )
