"""The document server's own tests: they pass before it has adopted us, and after."""

import pytest
from psycopg.errors import UniqueViolation

from tests.host.conftest import Host


@pytest.fixture(params=["host", "adopted"])
def own(request: pytest.FixtureRequest, kind: str) -> Host:
    assert kind
    own: Host = request.getfixturevalue(request.param)
    return own


def count(own: Host, table: str) -> int:
    return int(own.program("psql", "--tuples-only", "-c", f"SELECT count(*) FROM {table}"))  # noqa: S608  # of tests


def test_a_user_is_added_and_deleted_with_all_that_is_theirs(own: Host) -> None:
    user = own.add("users", email="cho@example")["id"]
    topic = own.add("study_topics", user_id=user, title="botany")["id"]
    question = own.add("study_questions", study_topic_id=topic, subject="mosses")["id"]
    own.add("published_items", pub_id="cho-0", source_id=question, choices=["a", "b"], correct_choice=0)
    assert count(own, "published_items") == 7
    assert own.client.delete(f"/users/{user}").status_code == 204
    assert [count(own, name) for name in ("users", "study_topics", "published_items")] == [2, 2, 6]


def test_an_address_is_taken_once(own: Host) -> None:
    with pytest.raises(UniqueViolation):
        own.client.post("/users", json={"email": "ann@example"})


def test_a_session_of_its_own_is_finished(own: Host) -> None:
    user = own.add("users", email="cho@example")["id"]
    topic = own.add("study_topics", user_id=user, title="botany")["id"]
    session = own.add("study_quiz_sessions", user_id=user, study_topic_id=topic, question_ids=[])
    assert session["status"] == "in_progress"
    (finished,) = own.client.post(f"/sessions/{session['id']}/finish").json
    assert finished["status"] == "done"


def test_a_right_choice_is_corrected(own: Host) -> None:
    assert own.client.put("/published_items/ann-0/correct_choice", json=3).status_code == 204


def test_rows_are_loaded_in_bulk_and_all_are_deleted(own: Host) -> None:
    own.run("INSERT INTO users (email) SELECT 'user ' || n FROM generate_series(1, 500) AS n")
    assert count(own, "users") == 502
    own.run("TRUNCATE users CASCADE", "ALTER TABLE users ALTER email TYPE varchar(320)")
    assert count(own, "study_questions") == 0


def test_its_next_migration_runs(own: Host) -> None:
    own.run(
        "ALTER TABLE users ADD COLUMN nickname text NOT NULL DEFAULT ''",
        "CREATE INDEX ON users (created_at)",
        "ALTER TABLE users DROP COLUMN created_at",
        "ALTER TABLE study_questions ALTER explanation TYPE varchar(500)",
        "ALTER TABLE study_questions RENAME subject TO chapter",
        "ALTER TABLE study_topics RENAME TO topics",
        "ALTER TABLE published_items ALTER choices SET DEFAULT '[]'",
        "UPDATE alembic_version SET version_num = '373'",
    )
