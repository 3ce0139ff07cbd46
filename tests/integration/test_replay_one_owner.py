"""I6: an upload whose questions belong to several learners writes nothing but its rejection."""

from itertools import permutations

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from cli.main import main
from shared.models import StudyQuizSession
from shared.ops.reports import report_upload
from tests.factories import IMPOSSIBLE, answer, everything, ingest, rows, upload, uuid_of

AT = "2026-11-20T09:00:00Z"
ANNS, BENS, CHOS = answer("q110", AT), answer("q210", AT), answer("second310", AT)
UNKNOWN = answer("unknown", AT)
# Even an answer that would be skipped says whose question it is.
BENS_SKIPPED = answer("q210", AT, IMPOSSIBLE)
MIXED = [*permutations([ANNS, BENS, UNKNOWN]), [ANNS, BENS, CHOS], [ANNS, ANNS, BENS_SKIPPED]]


pytestmark = pytest.mark.usefixtures("catalog")


def test_I6_mixed_owners_leave_nothing_but_a_rejection(engine: Engine) -> None:
    before = everything(engine)
    for answers in MIXED:
        found = ingest(engine, upload(*answers))
        assert (found.status, found.reason) == ("rejected", "mixed_owners")
    assert everything(engine) | {"uploads": [], "upload_events": []} == before


def test_no_attempt_of_a_rejected_upload_is_said_to_count(engine: Engine) -> None:
    rejected = ingest(engine, upload(ANNS, UNKNOWN, ANNS, BENS_SKIPPED))
    assert [each["status"] for each in rejected.result["attempts"]] == ["skipped"] * 4
    reasons = ["mixed_owners", "unknown_question", "mixed_owners", "invalid_choice"]
    assert [each["reason"] for each in rejected.result["attempts"]] == reasons


def test_operators_see_whose_each_question_is(engine: Engine, database_url: str) -> None:
    sent = upload(ANNS, UNKNOWN, BENS)
    ingest(engine, sent)
    with engine.connect() as connection:
        assert report_upload(connection, uuid_of(sent)).owners == {"q110": 1, "q210": 2}
    show = ["uploads", "show", sent["client_session_uuid"]]
    shown = CliRunner().invoke(main, show, env={"DATABASE_URL": database_url}).stdout
    rows_shown = [line.split() for line in shown.splitlines()]
    assert ["0", "q110", "skipped", "mixed_owners", "1"] in rows_shown
    assert ["1", "unknown", "skipped", "unknown_question"] in rows_shown
    assert ["2", "q210", "skipped", "mixed_owners", "2"] in rows_shown


def test_I6_uploads_of_one_owner_each_are_ingested(engine: Engine) -> None:
    ingest(engine, upload(ANNS, UNKNOWN))
    ingest(engine, upload(BENS))
    assert [row["user_id"] for row in rows(engine, StudyQuizSession)] == [1, 2]
