"""Allow an upload one session per topic, not counting superseded ones."""

from alembic import op

from migrations import concurrently

revision = "376"
down_revision = "375"

INDEX = "uq_study_quiz_sessions_client_session_uuid_study_topic_id"


def upgrade() -> None:
    with concurrently():
        # An interrupted build leaves an invalid index, which IF NOT EXISTS would keep.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(f"""
            CREATE UNIQUE INDEX CONCURRENTLY {INDEX}
            ON study_quiz_sessions (client_session_uuid, study_topic_id)
            WHERE client_session_uuid IS NOT NULL AND superseded_at IS NULL
        """)


def downgrade() -> None:
    with concurrently():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
