"""Drop the index that superseded sessions would break."""

from alembic import op

from migrations.locks import concurrently

revision = "386"
down_revision = "385"

INDEX = "uq_study_quiz_sessions_client_session_uuid_study_topic_id"


def upgrade() -> None:
    with concurrently():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")


def downgrade() -> None:
    # Fails where a conflict was accepted: the older code could not tell the two contents' sessions apart.
    with concurrently():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(f"""
            CREATE UNIQUE INDEX CONCURRENTLY {INDEX}
            ON study_quiz_sessions (client_session_uuid, study_topic_id)
            WHERE client_session_uuid IS NOT NULL
        """)
