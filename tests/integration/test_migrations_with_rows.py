"""Revisions 373 to 376 meet a running system: its rows survive them, there and back."""

from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import IntegrityError

import migrations

ROWS = """
    INSERT INTO users (id) VALUES (1);
    INSERT INTO study_topics (id, user_id, name) VALUES (10, 1, 'anatomy'), (11, 1, 'surgery');
    INSERT INTO study_questions (id, user_id, study_topic_id, subject) VALUES (100, 1, 10, 'bones');
    INSERT INTO published_items (pub_id, source_id, choices, correct_choice)
    VALUES ('q', 100, '["a", "b"]', 1);
    INSERT INTO study_quiz_sessions
        (user_id, study_topic_id, question_ids, status, correct_count, finished_at)
    VALUES (1, 10, '[100]', 'done', 1, now()), (1, 10, '[100]', 'in_progress', 0, NULL),
        (1, 11, '[]', 'abandoned', 0, now());
    INSERT INTO study_question_attempts (user_id, study_quiz_session_id, study_question_id, ordinal, pub_id,
        selected, unsure, outcome, rating, counted, answered_at, answered_at_raw, study_date, clock_adjusted)
    VALUES (1, 1, 100, 0, 'q', 1, false, 'correct', 3, true, now(), now(), current_date, false);
"""
ADDED = {"client_session_uuid": None, "source": "live", "finalized_at": None}
UPLOAD = "UPDATE study_quiz_sessions SET client_session_uuid = :uuid WHERE study_topic_id = 10"
VALID = text("""
    SELECT indisvalid FROM pg_index
    WHERE indexrelid = 'uq_study_quiz_sessions_client_session_uuid_study_topic_id'::regclass
""")


@pytest.fixture
def before(empty_database_url: str) -> Engine:
    """Fill the schema as it was when all sessions were live."""
    migrations.upgrade(empty_database_url, "372")
    engine = create_engine(empty_database_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(ROWS)
    return engine


def rows(engine: Engine, table: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT * FROM {table} ORDER BY {table}"))  # noqa: S608  our own names
        return [dict(row) for row in found.mappings()]


def test_373_to_376_keep_the_rows_and_call_them_live(before: Engine, empty_database_url: str) -> None:
    sessions, attempts = rows(before, "study_quiz_sessions"), rows(before, "study_question_attempts")
    assert len(sessions) == 3
    migrations.upgrade(empty_database_url, "376")
    assert rows(before, "study_quiz_sessions") == [session | ADDED for session in sessions]
    assert rows(before, "study_question_attempts") == attempts
    migrations.downgrade(empty_database_url, "372")
    assert rows(before, "study_quiz_sessions") == sessions
    assert rows(before, "study_question_attempts") == attempts


def test_I2_an_upload_has_one_session_a_topic(before: Engine, empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url)
    with (
        pytest.raises(IntegrityError, match="uq_study_quiz_sessions_client_session_uuid_study_topic_id"),
        before.begin() as connection,
    ):
        connection.execute(text(UPLOAD), {"uuid": "twice"})


def test_a_broken_index_is_built_again(before: Engine, empty_database_url: str) -> None:
    migrations.upgrade(empty_database_url, "375")
    with before.begin() as connection:
        connection.execute(text(UPLOAD), {"uuid": "twice"})
    with pytest.raises(migrations.MigrationError, match="is duplicated"):
        migrations.upgrade(empty_database_url)
    with before.begin() as connection:
        assert connection.scalar(VALID) is False
        connection.execute(text(UPLOAD), {"uuid": None})
    migrations.upgrade(empty_database_url, "376")
    with before.connect() as connection:
        assert connection.scalar(VALID) is True


def test_an_index_that_was_built_but_not_recorded_is_no_hindrance(
    before: Engine, empty_database_url: str
) -> None:
    migrations.upgrade(empty_database_url, "376")
    with before.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '375'"))
    migrations.upgrade(empty_database_url)
    assert migrations.pending(empty_database_url) == []
