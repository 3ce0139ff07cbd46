"""Let a learner's rows refer to a session by the learner and its id."""

from alembic import op

revision = "372"
down_revision = "371"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE study_quiz_sessions
        ADD CONSTRAINT uq_study_quiz_sessions_user_id_id UNIQUE (user_id, id)
    """)
    op.execute("DROP INDEX ix_study_quiz_sessions_user_id_id")


def downgrade() -> None:
    op.execute("CREATE INDEX ix_study_quiz_sessions_user_id_id ON study_quiz_sessions (user_id, id)")
    op.execute("ALTER TABLE study_quiz_sessions DROP CONSTRAINT uq_study_quiz_sessions_user_id_id")
