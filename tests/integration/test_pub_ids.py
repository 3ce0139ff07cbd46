"""A public id is one id, however its letters are composed and whatever space is around it."""

from unicodedata import normalize

import pytest
from sqlalchemy import Engine

from shared.learners import delete_learner
from shared.models import PublishedItem, StudyQuestionAttempt, Upload
from shared.ops.dry_run import dry_run_replay
from shared.ops.search import Search, search
from shared.uploads import Verdict
from tests.clients import TOPIC, Front, started
from tests.factories import ANN, CATALOG, NOW, answer, deliver, ingest, load, question, rows, upload, uuid_of

AT = "2026-11-20T09:00:00Z"
COMPOSED = "\N{LATIN SMALL LETTER C WITH CEDILLA}a-1"
APART = normalize("NFD", COMPOSED)
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
WRITTEN = [COMPOSED, APART, f" {COMPOSED}\t", f"\N{NO-BREAK SPACE}{APART}\n", f"{BOM}{COMPOSED}"]


@pytest.fixture(params=[COMPOSED, f" {APART} "])
def catalog(request: pytest.FixtureRequest, engine: Engine) -> None:
    load(engine, CATALOG | {"questions": [question(110, request.param)]})


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("written", WRITTEN)
def test_an_upload_finds_its_question_however_both_are_written(engine: Engine, written: str) -> None:
    assert [row["pub_id"] for row in rows(engine, PublishedItem)] == [COMPOSED]
    sent = upload(answer(written, AT))
    assert ingest(engine, sent).status == "ingested"
    (attempt,) = rows(engine, StudyQuestionAttempt)
    assert attempt["pub_id"] == COMPOSED
    assert rows(engine, Upload)[0]["payload"] == sent, "the payload stays as it was sent"
    again = deliver(engine, sent | {"attempts": [answer(COMPOSED, AT)]})
    assert again.verdict is Verdict.INGESTED, "it is the same content"


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("written", WRITTEN)
def test_operators_find_try_and_blank_it_too(engine: Engine, written: str) -> None:
    sent = upload(answer(written, AT))
    deliver(engine, sent)
    with engine.connect() as connection:
        for wanted in (Search(question=written), Search(question=COMPOSED), Search(learner=ANN)):
            assert [each.client_session_uuid for each in search(connection, wanted)] == [uuid_of(sent)]
        assert dry_run_replay(connection, uuid_of(sent), now=NOW, default_zone="UTC").moved
    with engine.begin() as connection:
        assert delete_learner(connection, ANN).uploads == 1
    assert rows(engine, Upload)[0]["payload"] is None


def test_a_live_answer_is_one_to_the_same_question(front: Front, engine: Engine) -> None:
    load(engine, {"questions": [question(112, COMPOSED)]})
    session = started(front.start(TOPIC))
    asked = front.read(session)["questions"]
    assert COMPOSED in {each["pub_id"] for each in asked}
    assert front.answer(session, f"{APART} ").status_code == 200
    assert front.answer(session, COMPOSED).status_code == 200, "the same answer again"
