"""Reviews of Anki become past sessions by the way of every upload, once, however often they are imported."""

from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from cli.main import main
from shared.learners import delete_learner
from shared.models import StudyQuestionAttempt, StudyQuizSession, Upload
from tests.anki_files import BASIC, Review, write
from tests.factories import ANN, BEN, CATALOG, RIGHT, everything, load, progress, rows, work_off

DAY = 86_400_000
START = 1_772_442_000_000  # 2026-03-02 09:00 UTC
NOTES = [(1, BASIC, "q110"), (2, BASIC, "<p>q111</p>"), (3, BASIC, "q210"), (4, BASIC, "")]
REVIEWS = [
    (START, 1, 1),
    (START + 60_000, 2, 2),
    (START + 120_000, 1, 3),
    (START + 180_000, 3, 3),  # somebody else's question
    (START + 240_000, 4, 3),
    (START + 300_000, 2, 0),  # set by hand
    (START + DAY, 2, 4),
]


pytestmark = pytest.mark.usefixtures("catalog")


def run(database_url: str, file: Path, *options: str, learner: int = ANN, **more: Any) -> Result:
    words = ["import", str(file), "--learner", str(learner), *options]
    return CliRunner().invoke(main, words, env={"DATABASE_URL": database_url}, **more)


def import_(database_url: str, tmp_path: Path, reviews: list[Review], *options: str) -> list[str]:
    file = write(tmp_path / "collection.colpkg", NOTES, reviews)
    result = run(database_url, file, "--field", "Code", *(options or ("--yes",)))
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def replay(engine: Engine) -> None:
    for upload in rows(engine, Upload):
        if upload["status"] == "received":
            work_off(engine, {"client_session_uuid": str(upload["client_session_uuid"])})


COUNTS = [
    "7 reviews: 4 answers in 2 sessions",
    "left out: 1 without an answer or a plausible time",
    "left out: 1 without a question",
    "left out: 1 unknown to the catalog",
]


def test_reviews_are_replayed_as_any_session_and_a_second_import_changes_nothing(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    assert import_(database_url, tmp_path, REVIEWS) == [*COUNTS, "2 new, 0 known, 0 conflict"]
    replay(engine)
    sessions = rows(engine, StudyQuizSession)
    assert {(each["user_id"], each["source"], each["status"]) for each in sessions} == {
        (ANN, "viewer", "done")
    }
    attempts = sorted(rows(engine, StudyQuestionAttempt), key=itemgetter("answered_at"))
    assert [(each["pub_id"], each["selected"], each["rating"], each["counted"]) for each in attempts] == [
        ("q110", None, 1, True),
        ("q111", RIGHT, 2, True),
        ("q110", RIGHT, 3, False),
        ("q111", RIGHT, 3, True),
    ]
    before = everything(engine)
    assert import_(database_url, tmp_path, REVIEWS) == [*COUNTS, "0 new, 2 known, 0 conflict"]
    assert everything(engine) == before


def test_a_newer_export_adds_the_sessions_that_are_new(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    import_(database_url, tmp_path, REVIEWS)
    replay(engine)
    later = [*REVIEWS, (START + 2 * DAY, 1, 3)]
    assert import_(database_url, tmp_path, later)[-1] == "1 new, 2 known, 0 conflict"
    replay(engine)
    in_two_steps = progress(engine)
    with engine.begin() as connection:
        delete_learner(connection, ANN)
        connection.execute(text("DELETE FROM uploads"))
    load(engine)
    import_(database_url, tmp_path, later)
    replay(engine)
    assert progress(engine) == in_two_steps


def test_a_session_that_was_exported_half_way_is_a_conflict_for_an_operator(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    import_(database_url, tmp_path, REVIEWS)
    replay(engine)
    before = progress(engine)
    grown = [*REVIEWS, (START + DAY + 60_000, 1, 3)]
    assert import_(database_url, tmp_path, grown)[-1] == "0 new, 1 known, 1 conflict"
    assert progress(engine) == before


def test_sessions_that_were_rejected_or_are_locked_are_not_called_known(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    later = {"questions": [each | {"published_at": "2026-12-01T00:00:00Z"} for each in CATALOG["questions"]]}
    load(engine, later)
    import_(database_url, tmp_path, REVIEWS)
    replay(engine)
    shown = import_(database_url, tmp_path, REVIEWS)
    assert shown[-2] == "0 new, 0 known, 0 conflict"
    assert shown[-1].startswith("2 rejected or dead since an earlier import: `study-ingest uploads list`")
    file = write(tmp_path / "grown.apkg", NOTES, [*REVIEWS, (START + DAY + 60_000, 1, 3)])
    with engine.begin() as other:
        other.execute(text("SELECT FROM uploads FOR NO KEY UPDATE"))
        result = run(database_url, file, "--field", "Code", "--yes")
    assert result.exit_code == 1
    assert "Error: 1 sessions are locked by another transaction: import again" in result.stderr


@pytest.mark.parametrize("replayed", [False, True])
def test_sessions_that_were_deleted_with_their_learner_are_not_called_known(
    engine: Engine, database_url: str, tmp_path: Path, *, replayed: bool
) -> None:
    import_(database_url, tmp_path, REVIEWS)
    if replayed:
        replay(engine)
    with engine.begin() as connection:
        delete_learner(connection, ANN)
    load(engine)
    deleted = [
        "0 new, 0 known, 0 conflict",
        "2 were deleted with the learner since an earlier import: not recorded again",
    ]
    assert import_(database_url, tmp_path, REVIEWS) == [*COUNTS, *deleted]
    assert progress(engine) == []
    grown = [*REVIEWS, (START + DAY + 60_000, 1, 3)]
    if replayed:  # else the upload was rejected, and other content replaces it
        assert import_(database_url, tmp_path, grown)[-2:] == deleted


@pytest.mark.parametrize(("options", "answer"), [(["--dry-run"], None), ([], "n\n")])
def test_counts_are_shown_first_and_nothing_is_recorded_without_a_yes(
    engine: Engine, database_url: str, tmp_path: Path, options: list[str], answer: str | None
) -> None:
    file = write(tmp_path / "deck.apkg", NOTES, REVIEWS)
    result = run(database_url, file, "--field", "Code", *options, input=answer)
    assert result.output.splitlines()[: len(COUNTS)] == COUNTS
    assert rows(engine, Upload) == []


def test_a_mapping_and_an_unknown_learner(database_url: str, tmp_path: Path) -> None:
    file = write(tmp_path / "deck.apkg", NOTES, REVIEWS)
    mapping = tmp_path / "mapping.csv"
    mapping.write_text("guid;pub_id\ng4;q210\n", encoding="utf-8-sig")
    words = ("--mapping", str(mapping), "--yes")
    assert run(database_url, file, *words, learner=BEN).output.splitlines()[0] == (
        "7 reviews: 1 answers in 1 sessions"
    )
    assert run(database_url, file, *words, learner=77).output == (
        "Error: learner 77 is not in the catalog: correct --learner, or add the learner\n"
    )
    assert "give one of --field and --mapping" in run(database_url, file).output
